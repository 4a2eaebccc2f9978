"""How fast environments and optimisers are, each beside well-known ones in the same run.

Environments make steps beside CartPole; optimisers are asked and told beside other libraries'
(``evaluation.latency``).
Run as ``python -m evaluation.speed RESULTS`` (``make bench``): prints tables and writes
``RESULTS/speed.json``. Only the ratios say something about another machine.
"""

import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from rich.console import Console
from rich.progress import track
from rich.table import Table as RichTable
from torch.utils.benchmark import Timer

from bbo_envs.functions.table import Table
from bbo_envs.registration import make_problem
from evaluation import latency
from evaluation.markdown import table

BATCH, BUDGET = 1024, 100
REFERENCE = "CartPole-v1"
VECTORISED = "CartPole-v1 (vectorised)"
TASKS: dict[str, dict[str, Any]] = {
    "BBO-GP-6d-v0": {},
    "BBO-GP-6d-v0 (fourier)": {"sampler": "fourier"},
    "BBO-Hartmann-6d-v0": {},
    "BBO-Rastrigin-10d-v0": {},
    "BBO-BBOB-f1-10d-v0": {},
    "BBO-BBOB-f15-10d-v0": {},
    "BBO-Repellers-6d-v0": {},
    "BBO-HPO-SVM-3d-v0": {},
    "BBO-HPO-MLP-5d-v0": {},
}


def measure() -> dict[str, Any]:
    """Steps a second of a scalar environment and of a batch of 1,024, one thread.

    Returns:
        ``{"one": {task: steps}, "batch": {task: steps}, "lookups": cells, ...}``: medians of
        blocks that last two seconds at least; random actions, and the resets that they lead to.
        ``lookups`` are those of a table alone, in batches of 1,024. ``latency``: see
        ``evaluation.latency.measure``.
    """
    torch.set_num_threads(1)
    one, batch = {}, {}
    batch[VECTORISED] = _vector(gymnasium.make_vec(REFERENCE, BATCH), BUDGET)
    for name, arguments in track({REFERENCE: {}, **TASKS}.items(), "measuring"):
        task = name.split()[0]
        if task == REFERENCE:
            one[name] = _scalar(gymnasium.make(task))
            batch[name] = _vector(
                SyncVectorEnv(
                    [lambda: gymnasium.make(REFERENCE)] * BATCH,
                    autoreset_mode=AutoresetMode.SAME_STEP,
                ),
                steps=5,
            )
        else:
            arguments = {"budget": BUDGET, **arguments}
            one[name] = _scalar(gymnasium.make(task, **arguments))
            batch[name] = _vector(gymnasium.make_vec(task, BATCH, **arguments), BUDGET)
    return {
        "one": one,
        "batch": batch,
        "lookups": _lookups("BBO-HPO-SVM-3d-v0"),
        "latency": latency.measure(lambda names: track(names, "optimisers")),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }


def rows(measured: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row of text per task: steps a second and their ratio to CartPole's, for 1 and 1,024."""
    made = []
    for name in [REFERENCE, VECTORISED, *TASKS]:
        cells = [name]
        for kind in ("one", "batch"):
            steps = measured[kind].get(name)
            ratio = "" if steps is None else f"{steps / measured[kind][REFERENCE]:.3g}"
            cells += ["" if steps is None else f"{steps:,.0f}", ratio]
        made.append(tuple(cells))
    return made


HEADINGS = ("environment", "steps/s, one", "× CartPole", "steps/s, 1,024", "× CartPole")


def markdown(measured: dict[str, Any]) -> str:
    """The table for the docs."""
    looked = f"A table alone: {measured['lookups'] / 1e6:.1f} million look-ups a second."
    return "\n".join([table(HEADINGS, rows(measured), "lrrrr"), "", looked])


def _shown(title: str, headings: Sequence[str], body: Sequence[Sequence[str]]) -> RichTable:
    shown = RichTable(title=title, box=None)
    for heading in headings:
        shown.add_column(heading, justify="left" if heading == headings[0] else "right")
    for row in body:
        shown.add_row(*row)
    return shown


def _scalar(env: gymnasium.Env[Any, Any]) -> float:
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(BUDGET)]
    env.reset(seed=0)

    def play() -> None:
        for action in actions:
            *_, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    return BUDGET / _seconds(play)


def _vector(envs: VectorEnv[Any, Any, Any], steps: int) -> float:
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(steps)]
    envs.reset(seed=0)

    def play() -> None:
        for action in actions:
            envs.step(action)

    return BATCH * steps / _seconds(play)


def _lookups(task: str) -> float:
    functions = make_problem(task).functions
    assert isinstance(functions, Table)
    state = functions.sample(BATCH, torch.Generator().manual_seed(0))
    x = torch.rand(BATCH, functions.dim, generator=torch.Generator().manual_seed(0))
    return BATCH / _seconds(lambda: functions.evaluate(state, x))


def _seconds(work: Any) -> float:
    timer = Timer("work()", globals={"work": work}, num_threads=1)
    return float(timer.blocked_autorange(min_run_time=2.0).median)


def main() -> None:
    """Measures, prints and writes."""
    measured = measure()
    console = Console(width=110)
    console.print(_shown("Steps a second, one thread", HEADINGS, rows(measured)))
    found = latency.rows(measured["latency"])
    console.print(_shown("Asking and telling, d = 6, one thread", latency.HEADINGS, found))
    console.print(f"Look-ups in a table: {measured['lookups'] / 1e6:.1f} million a second")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "speed.json").write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
