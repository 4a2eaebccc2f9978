"""Made-up evaluations, as a store returns them."""

import numpy as np
import pandas as pd

NAN = float("nan")


def run(
    agent, task, seed, y, *, budget=None, arguments="{}", minimum=NAN, reference=1.0, **columns
):
    """The rows of one run; with a longer budget than values, it fails after these."""
    t = np.arange(1, len(y) + 1)
    best = np.minimum.accumulate(np.asarray(y, dtype=float))
    keys = {"agent": agent, "version": "1", "task": task, "arguments": arguments, "seed": seed}
    values = {"t": t, "asked": t - 1.0, "finished": t * 1.0, "y": y, "best": best}
    other = {"regret": best - minimum, "reference": reference, "seconds": 0.5, "batch": 1}
    rows = pd.DataFrame({**keys, "budget": budget or len(y), **values, **other, **columns})
    rows["error"] = pd.Series([None] * len(y), dtype="str")
    if len(y) < rows["budget"].iloc[0]:
        last = rows.iloc[-1:].assign(t=len(y) + 1, error="ValueError: no")
        last[["asked", "finished", "y", "best", "regret", "seconds"]] = NAN
        rows = pd.concat([rows, last], ignore_index=True)
    return rows


def frame(*runs):
    """Runs below each other, in an order that nothing may depend on."""
    rows = pd.concat(runs, ignore_index=True)
    return rows.sample(frac=1.0, random_state=0, ignore_index=True)


def study():
    """Three agents: ties, two budgets, variants of a task, noise, a failure, a task missed.

    ``late`` has not played the task C, ``frail`` fails on one function of A and has not played
    another; B has no known minimum.
    """
    rng = np.random.default_rng(0)
    runs = []
    for agent in ("good", "frail", "late"):
        for task, arguments, minimum in (
            ("A", "{}", -2.0),
            ("A", '{"noise": 0.1}', -2.0),
            ("B", "{}", NAN),
            ("C", "{}", -2.0),
        ):
            for budget, seed in ((b, s) for b in (4, 7) for s in range(3)):
                if (agent, task) == ("late", "C") or (agent, task, seed) == ("frail", "A", 2):
                    continue
                fails = (agent, task, arguments, seed) == ("frail", "A", "{}", 1)
                y = rng.integers(-1, 9, size=2 if fails else budget) / 4.0
                known = {"minimum": minimum, "reference": 2.0 + len(arguments)}
                timing = {"seconds": rng.random(len(y)), "batch": 1 + (task == "C")}
                runs.append(
                    run(agent, task, seed, y, budget=budget, arguments=arguments, **known, **timing)
                )
    return frame(*runs)
