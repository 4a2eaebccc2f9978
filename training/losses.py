"""Losses over a trajectory, each ``[B]``, to be minimised (Chen et al. 2017, section 2.1)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bbo_envs.core import Observation
from bbo_envs.errors import UnknownNameError
from bbo_envs.functions.gp import expected_improvement, predict_along
from bbo_envs.functions.kernels import Kernel
from training.rollout import Trajectory

Loss = Callable[[Trajectory], Tensor]

# Those that need the posterior of the GP, and average over an agent's choice among proposals.
OF_POSTERIOR = ("ei", "ei-balanced", "ucb")

# Below this, EI counts for less than its share; in units of the prior's standard deviation.
_LEAST_IMPROVEMENT = 1e-5


def summed(trajectory: Trajectory) -> Tensor:
    """L_sum: the sum of all values.

    Example:
        >>> from bbo_envs import Observation
        >>> value = torch.tensor([[1.0, -2.0, -1.0]])
        >>> summed(Trajectory(torch.zeros(1, 3, 1), value, Observation(None, None, None)))
        tensor([-2.])
    """
    return trajectory.value.sum(-1)


def observed_improvement(
    trajectory: Trajectory, reference: float = 0.0, stop_gradient: bool = True
) -> Tensor:
    """L_OI: the sum over t of min(f(x_t) - m_{t-1}, 0), where m is the running minimum.

    The first value is measured against the prior mean: measured against itself, as the paper's
    formula can be read, a bad first query would be rewarded.

    Args:
        trajectory: The run.
        reference: m_0, the prior mean of the functions.
        stop_gradient: Treat the running minimum as a constant, so that every step that improves
            (or ties) gets its own gradient. Otherwise the sum telescopes to min_t f(x_t) - m_0,
            clipped at zero, in its gradient as in its value.

    Example:
        >>> from bbo_envs import Observation
        >>> value = torch.tensor([[1.0, -2.0, -1.0]])
        >>> run = Trajectory(torch.zeros(1, 3, 1), value, Observation(None, None, None))
        >>> observed_improvement(run)
        tensor([-2.])
    """
    value = trajectory.value
    first = torch.full_like(value[:, :1], reference)
    best = torch.cat([first, value], -1).cummin(-1).values[:, :-1]
    if stop_gradient:
        best = best.detach()
    return (value - best).clamp_max(0.0).sum(-1)


def discounted_regret(
    trajectory: Trajectory, optimum: Tensor | float = 0.0, discount: float = 0.98
) -> Tensor:
    """L_R: the sum over t of w_t (min_{i<=t} f(x_i) - f*), where w_t goes as discount^(T - t).

    TV, Malhotra, Narwariya, Vig & Shroff 2019, "Meta-Learning for Black-box Optimization": regret
    counts more towards the end of a run. The weights are scaled so that their mean is one.

    Args:
        trajectory: The run.
        optimum: f*, in a shape that broadcasts to ``[B]``. It changes no gradient, so that any
            constant serves where the minimum is not known.
        discount: By how much an evaluation counts less than the next, in (0, 1]. *Inferred.*

    Example:
        >>> from bbo_envs import Observation
        >>> value = torch.tensor([[1.0, -2.0, -1.0]])
        >>> run = Trajectory(torch.zeros(1, 3, 1), value, Observation(None, None, None))
        >>> discounted_regret(run, optimum=-3.0, discount=1.0)  # 4 + 1 + 1
        tensor([6.])
    """
    best = trajectory.value.cummin(-1).values
    steps = torch.arange(best.shape[-1] - 1, -1, -1, dtype=best.dtype, device=best.device)
    weights = discount**steps
    regret = best - torch.as_tensor(optimum, dtype=best.dtype, device=best.device).unsqueeze(-1)
    return (regret * weights / weights.mean()).sum(-1)


def expected_improvement_loss(
    trajectory: Trajectory,
    kernel: Kernel,
    noise: float,
    reference: float = 0.0,
    balanced: bool = False,
) -> Tensor:
    """L_EI: minus the sum over t of EI(x_t | what came back before t) under the generating GP.

    Where an agent chooses among proposals, EI is averaged over the choice, so that the gradient
    reaches the probabilities as well as the points.

    Args:
        trajectory: A run on functions of the GP prior.
        kernel: The kernel that generates them.
        noise: The standard deviation of the noise in y.
        reference: What the first query improves on: the prior mean.
        balanced: Divide the EI of each step by the root of its mean over the batch, held constant.
            EI falls a thousandfold in the course of a run, and the last steps are hardly heard
            without; with equal weights for all, the first are not.
    """
    best = _best_seen(trajectory.observation, reference).unsqueeze(-1)
    improvement = _averaged(
        trajectory, kernel, noise, lambda mean, var: expected_improvement(mean, var, best)
    )
    if balanced:
        improvement = improvement / (improvement.detach().mean(0) + _LEAST_IMPROVEMENT).sqrt()
    return -improvement.sum(-1).to(trajectory.value.dtype)


def confidence_bound_loss(
    trajectory: Trajectory, kernel: Kernel, noise: float, kappa: float = 2.0
) -> Tensor:
    """L_UCB: the sum over t of mean - kappa * deviation at x_t, given what came back before t.

    The GP-UCB loss that Chen et al. 2017, section 2.1, name beside EI and OI and found to do
    worse. For minimisation the optimistic bound is the lower one (Srinivas et al. 2010). It is
    averaged over the choice among proposals, as EI is.

    Args:
        trajectory: A run on functions of the GP prior.
        kernel: The kernel that generates them.
        noise: The standard deviation of the noise in y.
        kappa: The weight of the deviation. *Inferred*: the paper publishes none.
    """
    # The floor keeps the gradient of the root finite where the posterior is certain.
    bound = _averaged(
        trajectory, kernel, noise, lambda mean, var: mean - kappa * var.clamp_min(1e-18).sqrt()
    )
    return bound.sum(-1).to(trajectory.value.dtype)


def make_loss(name: str, functions: Any, noise: float = 0.0, optimum: Tensor | None = None) -> Loss:
    """Makes a loss for runs on a function distribution.

    Args:
        name: ``"sum"``, ``"oi"`` (stop-gradient form), ``"oi-telescoped"``, ``"ei"``,
            ``"ei-balanced"`` (EI with ``balanced``), ``"ucb"`` or ``"regret"``.
        functions: The distribution that the runs are on; those of ``OF_POSTERIOR`` need its
            kernel.
        noise: The standard deviation of the noise in y.
        optimum: The minima of the functions, for ``"regret"``; the prior mean stands in for them
            where they are not known, which changes no gradient.

    Raises:
        UnknownNameError: If no loss has this name.
        ValueError: If one of ``OF_POSTERIOR`` is asked for on functions that are not GP samples.
    """
    reference = functions.prior_mean
    kernel: Any = getattr(functions, "kernel", None)
    losses: dict[str, Loss] = {
        "sum": summed,
        "oi": lambda run: observed_improvement(run, reference, stop_gradient=True),
        "oi-telescoped": lambda run: observed_improvement(run, reference, stop_gradient=False),
        "ei": lambda run: expected_improvement_loss(run, kernel, noise, reference),
        "ei-balanced": lambda run: expected_improvement_loss(run, kernel, noise, reference, True),
        "ucb": lambda run: confidence_bound_loss(run, kernel, noise),
        "regret": lambda run: discounted_regret(run, reference if optimum is None else optimum),
    }
    if name not in losses:
        raise UnknownNameError("loss", name, losses)
    if name in OF_POSTERIOR:
        check_posterior(name, functions, "use 'oi' or 'sum'")
    return losses[name]


def check_posterior(name: str, functions: Any, remedy: str) -> None:
    """Checks that a loss can ask the posterior of the GP that functions are samples of.

    Raises:
        ValueError: If they are not samples of one.
    """
    if getattr(functions, "kernel", None) is None:
        raise ValueError(
            f"loss {name!r} needs the posterior of the generating GP, which "
            f"{type(functions).__name__} does not have; {remedy}"
        )


def _averaged(
    trajectory: Trajectory,
    kernel: Kernel,
    noise: float,
    criterion: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """A criterion ``[B, T]`` of the posterior at each query, averaged over what it could have been.

    Args:
        trajectory: The run.
        kernel: The kernel that generates the functions.
        noise: The standard deviation of the noise in y.
        criterion: From posterior means and variances ``[B, T, P]`` to values of the same shape.
    """
    x, y, o = (part.double() for part in trajectory.observation)
    proposals = trajectory.proposals
    queries = trajectory.x.unsqueeze(2) if proposals is None else proposals.x
    # The jitter is larger than the sampler's: a loss needs a smooth gradient, not exact values.
    variance = max(noise**2, 1e-6)
    values = criterion(*predict_along(kernel, (x, y, o), queries.double(), variance))
    if proposals is None:
        return values.squeeze(-1)
    return (proposals.log_weight.double().exp() * values).sum(-1)


def _best_seen(observation: Observation, reference: float) -> Tensor:
    """The best y ``[B, T]`` that came back before each query; at first the reference."""
    y = torch.where(observation.o > 0, observation.y.double(), reference)
    return y.cummin(-1).values.clamp_max(reference)
