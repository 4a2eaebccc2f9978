"""One run of training in memory: draw micro-batches, unroll, differentiate, step."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from agents.networks import needs_dim
from agents.pfn import PFNAgent
from agents.stochastic import StochasticAgent
from bbo_envs.problem import Problem
from bbo_envs.registration import make_problem
from bbo_envs.seeds import AGENT_SEED
from training.acquisition import LOSS, acquisition_loss, lessons
from training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from training.configs import TrainConfig
from training.distributed import Processes
from training.distribution import Drawn, Mixture
from training.losses import OF_POSTERIOR, check_posterior, make_loss
from training.reinforce import check_reinforce, reinforce_loss
from training.rollout import detach, unroll
from training.schedule import draw_horizon, entropy_weight_at, horizon_at, learning_rate_at
from training.score import MILESTONES
from training.start import initial_network

# Odd, so that its multiples do not repeat modulo a power of two.
_STRIDE = 0x9E3779B1

_MOST_SKIPPED = 100


class DivergedError(RuntimeError):
    """Training has come to a point from which no gradient leads on."""


class Played(NamedTuple):
    """What a micro-batch gives.

    Attributes:
        loss: Its mean, per evaluation.
        value: ``[B, T]`` the noise-free values of its queries.
        dim: The number of coordinates of its functions.
    """

    loss: Tensor
    value: Tensor
    dim: int


class Trainer:
    """One run of training: its network, optimiser, generator and place in the curriculum.

    Args:
        config: What to train and how.
        device: Where; all randomness is drawn on the CPU, so that it does not depend on this.
        processes: Those that share the work; see ``training.distributed``.

    Raises:
        ValueError: If there is no such device, or the configuration cannot be trained.
        UnknownNameError: If a name in it is unknown.

    Example:
        >>> config = TrainConfig(network_arguments={"hidden": 8}, batch=4, horizon=10)
        >>> trainer = Trainer(config)
        >>> sorted(trainer.step())
        ['best', 'gradient_norm', 'horizon', 'iteration', 'learning_rate', 'loss', 'skipped']
    """

    def __init__(
        self, config: TrainConfig, device: str = "cpu", processes: Processes | None = None
    ) -> None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device {device!r} cannot be used here: {error}") from error
        self.processes = processes or Processes()
        if config.micro_batches % self.processes.count:
            raise ValueError(
                "micro_batches must be a multiple of the number of processes, got "
                f"{config.micro_batches} for {self.processes.count}; change either"
            )
        self.config = config
        self.device = device
        self.mixture = Mixture(config.task, config.task_arguments, config.mixture)
        self.iteration = 0
        self.skipped = 0  # in a row
        self.generator = torch.Generator().manual_seed(config.seed)
        dim = _dim(config, self.mixture)
        self.agent = initial_network(config, dim, self.generator).to(device)
        if isinstance(self.agent, StochasticAgent):
            check_reinforce(config, self.agent)
        if isinstance(self.agent, PFNAgent) != (config.loss == LOSS):
            raise ValueError(
                f"the network 'pfn' and the loss {LOSS!r} go together, got {config.network!r} and "
                f"{config.loss!r}; change either"
            )
        # REINFORCE teaches the choice under every loss.
        chosen_from = self.agent.architecture.get("proposals", 1)
        if chosen_from > 1 and config.loss not in OF_POSTERIOR:
            raise ValueError(
                f"the loss {config.loss!r} does not teach the network {config.network!r} how to "
                f"choose among its {chosen_from} proposals; use one of {', '.join(OF_POSTERIOR)}, "
                'or network_arguments={"proposals": 1}'
            )
        self.optimizer = torch.optim.Adam(self.agent.parameters(), lr=config.learning_rate)

    def step(self) -> dict[str, Any]:
        """One iteration; returns what is worth logging.

        A loss or a gradient that is not finite changes nothing but the iteration.

        Raises:
            DivergedError: After 100 such iterations in a row.
        """
        played = self.gradient()
        norm = torch.nn.utils.clip_grad_norm_(self.agent.parameters(), self.config.max_gradient)
        rate = learning_rate_at(self.config, self.iteration)
        loss = sum(facts["loss"] for facts in played) / len(played)
        finite = math.isfinite(loss) and bool(norm.isfinite())
        if finite:
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self.optimizer.step()
        horizon = horizon_at(self.config, self.iteration)
        self.iteration += 1
        self.skipped = 0 if finite else self.skipped + 1
        if self.skipped == _MOST_SKIPPED:
            raise DivergedError(
                f"{_MOST_SKIPPED} iterations in a row, up to number {self.iteration}, gave a loss "
                "or a gradient that is not finite, and changed nothing; train with a lower "
                "learning_rate, max_query_gradient or truncation, or on functions whose values "
                "span less, in another folder"
            )
        return {
            "iteration": self.iteration,
            "horizon": horizon,
            "loss": loss,
            "gradient_norm": norm.item(),
            "learning_rate": rate,
            "skipped": not finite,
            "best": _mean_best([facts["best"] for facts in played]),
        }

    def gradient(self) -> list[dict[str, Any]]:
        """Puts the gradient of the next iteration into the weights.

        Returns:
            The loss of each micro-batch, those of other processes included, and its best values.
        """
        horizon = horizon_at(self.config, self.iteration)
        seeds = self.processes.share(draw_seeds(self.config.micro_batches, self.generator))
        self.optimizer.zero_grad()
        played: list[dict[str, Any]] = []
        for seed in seeds:
            loss, value, dim = self.play(seed, horizon)
            (loss / len(seeds)).backward()  # type: ignore[no-untyped-call]
            played.append({"loss": loss.item(), "best": self._best(value, dim)})
        self.processes.average_gradients(self.agent.parameters())
        return self.processes.gather(played)

    def play(self, seed: int, horizon: int) -> Played:
        """Unrolls the network on one micro-batch.

        Args:
            seed: Of everything that is random in it.
            horizon: The curriculum's.
        """
        config, generator = self.config, torch.Generator().manual_seed(seed)
        if config.mix_horizons:
            horizon = draw_horizon(config.first_horizon, horizon, generator)
        problem = build(self.mixture.draw(generator), horizon, self.device)
        start = problem.reset(config.batch // config.micro_batches, generator)
        if isinstance(self.agent, PFNAgent):
            given = lessons(self.agent, problem, start, generator)
            losses = torch.stack([acquisition_loss(self.agent, one).mean() for one in given])
            return Played(losses.mean(), losses.new_zeros(1, 0), problem.functions.dim)
        if isinstance(self.agent, StochasticAgent):
            entropy = entropy_weight_at(config, self.iteration)
            loss, value = reinforce_loss(self.agent, problem, start, generator, config, entropy)
            return Played(loss, value, problem.functions.dim)
        optimum = problem.functions.optimum(start[0].function)
        loss_of = make_loss(config.loss, problem.functions, problem.noise, optimum)
        run = unroll(
            self.agent,
            problem,
            start,
            generator,
            detach_feedback=config.detach_feedback,
            max_query_gradient=config.max_query_gradient,
            truncation=config.truncation,
        )
        if config.detach_feedback:
            # What a posterior is conditioned on was fed back too: half of a gradient through it,
            # that of x with y held fast, leads EI astray.
            run = run._replace(observation=detach(run.observation))
        # Per evaluation, so that the gradient's size does not grow with the horizon.
        return Played(loss_of(run).mean() / horizon, run.value.detach(), problem.functions.dim)

    def save(self, path: Path) -> None:
        """Writes a checkpoint."""
        facts = {"iteration": self.iteration, "config": asdict(self.config)}
        save_checkpoint(path, self.agent, self.optimizer, self.generator, facts)

    def resume(self, path: Path) -> None:
        """Goes on from a checkpoint.

        Raises:
            CheckpointError: If it is damaged, or of a run with another configuration.
        """
        facts = load_checkpoint(path, self.agent, self.optimizer, self.generator)
        mine = json.loads(json.dumps(asdict(self.config)))
        del mine["score_tasks"]  # which training does not depend on
        # What an older version did not know yet is what it is without being named.
        theirs = asdict(TrainConfig()) | facts["config"]
        different = [key for key in mine if theirs[key] != mine[key]]
        if different:
            key = different[0]
            raise CheckpointError(
                f"the checkpoint {path} is of a run with {key}={theirs[key]!r}, not "
                f"{mine[key]!r}; resume it with its own configuration, or name another folder"
            )
        self.iteration = facts["iteration"]

    def _best(self, value: Tensor, dim: int) -> dict[str, float]:
        """The mean best value after each milestone within the horizon."""
        best = value.cummin(1).values.mean(0)
        found = {str(t): best[t - 1].item() for t in MILESTONES if t <= len(best)}
        if "dim" in self.config.mixture:
            found |= {f"{t}/{dim}d": mean for t, mean in found.items()}
        return found


def draw_seeds(count: int, generator: torch.Generator) -> list[int]:
    """Draws a seed for each micro-batch of an iteration: all different, and all of training.

    Example:
        >>> draw_seeds(2, torch.Generator().manual_seed(0))
        [398764591, 905716704]
    """
    first = int(torch.randint(AGENT_SEED, (), generator=generator))
    return [(first + i * _STRIDE) % AGENT_SEED for i in range(count)]


def build(drawn: Drawn, horizon: int, device: str = "cpu") -> Problem:
    """The problem of a micro-batch, in float32."""
    return make_problem(
        drawn.task, budget=horizon, dtype=torch.float32, device=device, **drawn.arguments
    )


def _dim(config: TrainConfig, mixture: Mixture) -> int:
    """Builds whatever may be drawn, so that a mistake shows now; returns the number of dimensions.

    Raises:
        ValueError: If an argument is out of range, the task passes no gradients, the loss does not
            suit it, or the dimension varies and the network's cannot.
    """
    dims = []
    for drawn in mixture.settings():
        functions = build(drawn, horizon=1).functions
        if config.loss == LOSS:
            check_posterior(LOSS, functions, "train on a task of GP samples")
        elif config.estimator == "pathwise":
            make_loss(config.loss, functions)
        if config.estimator == "pathwise" and not functions.differentiable:
            raise ValueError(
                f"{drawn.task} with {drawn.arguments} passes no gradients from values to queries, "
                "which training by back-propagation needs; train on a task of GP samples, or by "
                "estimator='score'"
            )
        dims.append(functions.dim)
    if needs_dim(config.network) and len(set(dims)) > 1:
        raise ValueError(
            f"the network {config.network!r} proposes in a fixed number of dimensions, the "
            f"mixture has {sorted(set(dims))}; train one for each, or the network 'universal'"
        )
    return dims[0]


def _mean_best(parts: list[dict[str, float]]) -> dict[str, float]:
    """Means over the micro-batches that have come as far."""
    marks = {mark: None for part in parts for mark in part}
    return {
        mark: sum(part[mark] for part in parts if mark in part)
        / sum(mark in part for part in parts)
        for mark in marks
    }
