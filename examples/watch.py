"""Draws a learned optimiser at work as an animation, frame by frame, and as text."""

import sys
from pathlib import Path

import gymnasium
import torch
from PIL import Image

import agents
from bbo_envs import Observation


def frames(mode: str, budget: int = 30) -> list:
    """What ``render`` shows after each of the LSTM's queries on a sample of a GP."""
    env = gymnasium.make("BBO-GP-2d-v0", budget=budget, sampler="fourier", render_mode=mode)
    agent = agents.load("lstm-oi-2d")
    observation, _ = env.reset(seed=2)
    space = env.action_space
    state = agent.init(1, space, budget, torch.Generator().manual_seed(0))
    shown = []
    for _ in range(budget):
        seen = Observation(*(torch.as_tensor(part).unsqueeze(0) for part in observation))
        query, state = agent.step(state, seen)
        observation, *_ = env.step(query[0].numpy())
        shown.append(env.render())
    return shown


path = Path(sys.argv[1] if len(sys.argv) > 1 else "watch.gif")
images = [Image.fromarray(frame) for frame in frames("rgb_array")]
images[0].save(path, save_all=True, append_images=images[1:], duration=250, loop=0)
print(frames("ansi")[-1])
print(f"after  {len(images)} evaluations: {path}")
