"""What to train and how: one dataclass, and a preset for each network that ships."""

import json
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from tyro.constructors import PrimitiveConstructorSpec

from agents.stochastic import SCALES
from bbo_envs.checks import number_between, positive_integer
from bbo_envs.seeds import AGENT_SEED
from training.distribution import Mixture


def Json(kind: type) -> Any:  # noqa: N802 (it is used as a type)
    """How the command line reads and shows an argument that is a JSON object or list."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="JSON",
        instance_from_str=lambda arguments: json.loads(arguments[0]),
        is_instance=lambda instance: isinstance(instance, kind),
        str_from_instance=lambda instance: [json.dumps(instance)],
    )


@dataclass(frozen=True)
class TrainConfig:
    """A training run, by back-propagation through time or by REINFORCE.

    The horizon grows with the iterations from ``first_horizon`` to ``horizon``; the learning rate
    falls from ``learning_rate`` to a hundredth of it along a half cosine, after a warm-up.
    """

    task: str = "BBO-GP-6d-v0"
    """The task whose functions the network is trained on."""
    task_arguments: Annotated[dict[str, Any], Json(dict)] = field(
        default_factory=lambda: {"sampler": "fourier", "features": 256}
    )
    """Arguments of the task, as for gym.make; the budget is set by the horizon."""
    mixture: Annotated[dict[str, Any], Json(dict)] = field(default_factory=dict)
    """What every micro-batch draws anew, over task_arguments: {argument: [choices]} or {argument:
    {"low": a, "high": b}}; see training.distribution.Mixture."""
    network: Literal["lstm", "dnc", "universal", "pfn", "posterior-guided"] = "lstm"
    """The kind of network; see agents.networks.NETWORKS."""
    network_arguments: Annotated[dict[str, Any], Json(dict)] = field(
        default_factory=lambda: {"hidden": 128}
    )
    """Arguments of its class, beside the dimension."""
    loss: Literal[
        "sum", "oi", "oi-telescoped", "ei", "ei-balanced", "ucb", "regret", "acquisition"
    ] = "oi"
    """The loss; 'oi' is its stop-gradient form, 'ei-balanced' raises the weight of late steps.
    'acquisition' teaches the network 'pfn', without unrolling it."""
    estimator: Literal["pathwise", "score", "mixed"] = "pathwise"
    """How the loss becomes a gradient: by back-propagation through time; by REINFORCE, which needs
    no gradient of the task; or 'mixed': from a query to its own value by back-propagation where the
    task allows it, and by REINFORCE to all that follows. See training.reinforce."""
    scale: float = 0.2
    """With REINFORCE, how far around its proposals the network draws queries, before training."""
    entropy: float = 0.0
    """With REINFORCE, the weight at first of the entropy per coordinate of what queries are drawn
    from; it falls linearly, to zero at the end."""
    discount: float = 1.0
    """With REINFORCE, what a cost counts of a query that was made one evaluation earlier; with 1,
    the estimate is unbiased, with less there is less noise in it."""
    initial: str = ""
    """The trained network whose weights training begins with: the name of one that ships, or the
    path of a file; those of network and network_arguments fit it."""
    iterations: int = 20_000
    """Steps of Adam."""
    batch: int = 128
    """Functions per iteration."""
    micro_batches: int = 1
    """Parts of the batch, each with its own draw of the mixture, whose gradients are averaged."""
    first_horizon: int = 10
    """Evaluations per function at the start of the curriculum."""
    horizon: int = 100
    """Evaluations per function at its end."""
    mix_horizons: bool = False
    """Draw each micro-batch's horizon log-uniformly from first_horizon to the curriculum's."""
    truncation: int = 50
    """Gradients pass through at most this many steps (truncated BPTT)."""
    curriculum: float = 0.7
    """The share of the iterations over which the horizon grows."""
    learning_rate: float = 2e-3
    """Adam's learning rate at its highest."""
    warm_up: int = 100
    """Iterations over which the learning rate rises to it."""
    max_gradient: float = 1.0
    """The gradient's norm is clipped to this in every iteration."""
    max_query_gradient: float = 1.0
    """The gradient of every query is clipped to this norm, per function, before it goes on.

    That of proposals, with losses that average over the choice among them, is not.
    """
    detach_feedback: bool = True
    """Pass no gradient through the values fed back to the network."""
    seed: int = 0
    """Of the initial weights and of all functions."""
    score_tasks: Annotated[list[dict[str, Any]], Json(list)] = field(default_factory=list)
    """Further tasks that the network is scored on: [{"task", "arguments", "budget"}]."""

    def __post_init__(self) -> None:
        """Checks the numbers, so that a mistake shows before hours are spent on it."""
        counts = ("iterations", "batch", "micro_batches", "first_horizon", "horizon")
        for name in (*counts, "truncation", "warm_up"):
            positive_integer(name, getattr(self, name))
        for name in ("learning_rate", "max_gradient", "max_query_gradient"):
            number_between(name, getattr(self, name), 0.0)
        number_between("curriculum", self.curriculum, 0.0, 1.0)
        number_between("scale", self.scale, *SCALES)
        number_between("entropy", self.entropy, 0.0)
        number_between("discount", self.discount, 0.0, 1.0)
        if not 0 <= self.seed < AGENT_SEED:
            raise ValueError(
                f"seed must be in [0, 2^30), got {self.seed!r}: those above are for evaluation"
            )
        if self.batch % self.micro_batches:
            raise ValueError(
                f"batch must be a multiple of micro_batches, got {self.batch} and "
                f"{self.micro_batches}"
            )
        if not isinstance(self.network_arguments, dict):
            raise ValueError(f"network_arguments must be an object, got {self.network_arguments!r}")
        Mixture(self.task, self.task_arguments, self.mixture)
        for entry in self.score_tasks:
            if not isinstance(entry, dict) or entry.keys() - {"arguments", "budget"} != {"task"}:
                raise ValueError(
                    "score_tasks must be a list of objects with a task and, if need be, arguments "
                    f"and a budget; got {entry!r}"
                )
            Mixture(entry["task"], entry.get("arguments", {}), {})


def _gp(dim: int, network: str, loss: str) -> TrainConfig:
    """The preset of a network for GP samples in a fixed number of dimensions."""
    return TrainConfig(
        task=f"BBO-GP-{dim}d-v0",
        network=network,  # type: ignore[arg-type]
        network_arguments={"hidden": 128} if network == "lstm" else {},
        loss=loss,  # type: ignore[arg-type]
        iterations=2_000 if network == "lstm" else 1_200,
        # Longer ones add noise, not skill: see EXPERIMENTS.md.
        horizon=60,
        truncation=20,
        learning_rate=3e-3,
    )


# GP samples as various as a network meets that is told nothing: the mixture of the networks for any
# number of dimensions. 4 and 12 are left out, to see what they do in dimensions they have not met.
_VARIOUS: dict[str, Any] = {
    "dim": [1, 2, 3, 5, 6, 6, 9, 16],
    "kernel": ["rbf", "rbf", "rbf", "matern52"],
    "length_scale_factor": {"low": 0.6, "high": 1.7},
    "noise": [0, 0, 0, 0, 0.1],
    "workers": [1, 1, 1, 1, 5],
}
_WARPED: dict[str, Any] = {**_VARIOUS, "transforms": [[], [], [], [], ["warp_values"]]}


# The data sets of HPOBench-MLP that a network is trained on, and those that it is judged by.
_TAUGHT = ["australian", "blood_transfusion", "car", "credit_g", "kc1"]
HELD_OUT_DATASETS = ("phoneme", "segment", "vehicle")


def _any_dimension(network: str, **changes: Any) -> TrainConfig:
    """The preset of a network that proposes in any number of dimensions."""
    others = [({"dim": dim}, 100) for dim in (1, 2, 3, 4, 5, 9, 12)] + [({"dim": 6}, 150)]
    common = TrainConfig(
        task="BBO-GP-v0",
        task_arguments={"dim": 6, "sampler": "fourier", "features": 256},
        mixture=_VARIOUS,
        network=network,  # type: ignore[arg-type]
        network_arguments={},
        mix_horizons=True,
        curriculum=0.5,
        truncation=20,
        learning_rate=3e-3,
        score_tasks=[
            {"task": "BBO-GP-v0", "arguments": arguments, "budget": budget}
            for arguments, budget in others
        ],
    )
    return replace(common, **changes)


PRESETS: dict[str, TrainConfig] = {
    # Balanced EI does better than plain EI at every number of evaluations: see EXPERIMENTS.md.
    **{
        f"{network}-{name}-6d": _gp(6, network, loss)
        for network in ("lstm", "dnc")
        for name, loss in (("sum", "sum"), ("oi", "oi"), ("ei", "ei-balanced"))
    },
    **{
        f"{network}-oi-{dim}d": _gp(dim, network, "oi")
        for network in ("lstm", "dnc")
        for dim in (1, 2, 3, 9)
    },
    # The first two that shipped were trained by settings of their own.
    "lstm-oi-6d": replace(
        _gp(6, "lstm", "oi"), network_arguments={"hidden": 256}, iterations=1_800, batch=256
    ),
    "lstm-oi-2d": TrainConfig(task="BBO-GP-2d-v0", iterations=9_000),
    # The EI loss keeps it exploring in few dimensions, where OI teaches it to stop; it needs the
    # posterior of the functions, hence no warped values.
    "universal": _any_dimension("universal", loss="ei-balanced", iterations=2_000, batch=96),
    "pfn": _any_dimension(
        "pfn",
        loss="acquisition",
        iterations=4_000,
        batch=64,
        micro_batches=2,
        first_horizon=6,
        horizon=120,
        curriculum=0.0,
        learning_rate=2e-3,
    ),
    "posterior-guided": _any_dimension(
        "posterior-guided", mixture=_WARPED, iterations=1_500, batch=64, horizon=50
    ),
    # One proposal: REINFORCE explores by drawing queries around it. EXPERIMENTS.md has the others.
    "universal-reinforce-6d": TrainConfig(
        network="universal",
        network_arguments={"hidden": 48, "proposals": 1},
        estimator="score",
        scale=0.1,
        discount=0.9,
        iterations=1_500,
        batch=256,
        first_horizon=30,
        horizon=30,
        curriculum=0.0,
        truncation=20,
        max_gradient=0.5,
    ),
    # The parent of the next.
    "lstm-oi-5d": replace(
        _gp(6, "lstm", "oi"),
        task="BBO-GP-v0",
        task_arguments={"dim": 5, "sampler": "fourier", "features": 256},
        iterations=1_200,
    ),
    # An LSTM for a fixed number of dimensions, since it tells coordinates apart: what is good on
    # some data sets is good on others, but not for all parameters alike. See EXPERIMENTS.md.
    "lstm-tables-5d": TrainConfig(
        task="BBO-HPO-MLP-5d-v0",
        task_arguments={"dataset": _TAUGHT},
        # One data set per micro-batch: what queries are compared with are others on the same.
        mixture={"dataset": _TAUGHT},
        network_arguments={"hidden": 128},
        loss="regret",
        estimator="score",
        scale=0.05,
        discount=0.9,
        initial="lstm-oi-5d",
        iterations=1_200,
        batch=192,
        first_horizon=40,
        curriculum=0.0,
        mix_horizons=True,
        warm_up=20,
        truncation=20,
        learning_rate=1e-3,
        max_gradient=0.5,
        score_tasks=[
            {"task": "BBO-HPO-MLP-5d-v0", "arguments": {"dataset": dataset}, "budget": 100}
            for dataset in HELD_OUT_DATASETS
        ],
    ),
}
