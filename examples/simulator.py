"""A simulator in the loop: a controller for Gymnasium's pendulum, by asking and telling.

Every run begins elsewhere, so that values are noisy; and the search is saved after each, so that it
goes on where it was if this script is stopped.
"""

from pathlib import Path

import gymnasium
import numpy as np

from agents import AskTell

SPACE = {
    "push": (0.01, 10.0, "log"),
    "stiffness": (0.1, 50.0, "log"),
    "damping": (0.1, 50.0, "log"),
    "catch": (0.1, 3.0),
}
BUDGET, SAVED = 60, Path("pendulum.json")


def cost(gains, seed, episodes=6):
    """The mean cost of episodes: pump energy in until the pendulum is near the top, then hold."""
    env, total = gymnasium.make("Pendulum-v1"), 0.0
    for episode in range(episodes):
        (cos, sin, speed), _ = env.reset(seed=1_000 * seed + episode)
        done = False
        while not done:
            angle = np.arctan2(sin, cos)
            if abs(angle) < gains["catch"]:
                torque = -gains["stiffness"] * angle - gains["damping"] * speed
            else:
                torque = gains["push"] * speed * (15.0 - (speed**2 / 2 + 15.0 * cos))
            action = np.clip([torque], -2.0, 2.0)
            (cos, sin, speed), reward, _, done, _ = env.step(action)
            total -= reward
    return total / episodes


optimizer = AskTell.load(SAVED) if SAVED.exists() else AskTell(SPACE, BUDGET)
while len(optimizer.history) < BUDGET:
    gains = optimizer.pending[0] if optimizer.pending else optimizer.ask()
    optimizer.tell(gains, cost(gains, seed=len(optimizer.history)))
    optimizer.save(SAVED)
    if len(optimizer.history) % 10 == 0:
        print(f"after {len(optimizer.history):3d} evaluations the best is {optimizer.best.y:.0f}")
print(f"on other episodes: {cost(optimizer.best.x, seed=10_000, episodes=50):.0f}")
