"""An optimiser of one's own in ten lines, in the benchmark beside others.

The same from the command line:

    bbo benchmark --agents examples/custom_agent.py:LocalSearch random tpe --seeds 10
"""

import torch

from evaluation.benchmark import benchmark


class LocalSearch:
    """Normal steps from the best query so far, which shrink as the budget is used up."""

    def init(self, batch, space, budget, generator):
        best = torch.full((batch, *space.shape), 0.5, dtype=torch.float64)
        return best, torch.full((batch,), torch.inf, dtype=torch.float64), 1.0, budget, generator

    def step(self, state, observation):
        best, lowest, left, budget, generator = state
        better = (observation.o > 0) & (observation.y < lowest)
        best = torch.where(better.unsqueeze(1), observation.x, best)
        lowest = torch.where(better, observation.y, lowest)
        step = 0.3 * left * torch.randn(best.shape, generator=generator, dtype=best.dtype)
        return (best + step).clamp(0.0, 1.0), (best, lowest, left - 1.0 / budget, budget, generator)


if __name__ == "__main__":
    benchmark(
        [LocalSearch, "random", "tpe", "lstm-oi"],
        ["BBO-GP-6d-v0", "BBO-HPO-SVM-3d-v0"],
        budget=30,
        seeds=10,
        folder="results/custom",
    )
