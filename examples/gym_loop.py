"""The plain Gymnasium loop, with a trained network as the agent."""

import gymnasium
import torch

import agents
import bbo_envs

env = gymnasium.make("BBO-GP-6d-v0", budget=50)
agent = agents.load("lstm-oi-6d")

observation, info = env.reset(seed=0)
state = agent.init(1, env.action_space, 50, torch.Generator().manual_seed(0))
done = False
while not done:
    seen = bbo_envs.Observation(*(torch.as_tensor(part).unsqueeze(0) for part in observation))
    query, state = agent.step(state, seen)
    observation, reward, done, _, info = env.step(query[0].numpy())
    if info["t"] % 10 == 0:
        print(f"after {info['t']:3d} evaluations the best value is {info['best_y']:.3f}")
