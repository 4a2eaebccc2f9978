"""REINFORCE: the gradient of an expected loss from what happened, where tasks have no gradient.

Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
Learning". Each query is drawn from a density that the network decides about. The loss is a sum of
costs, and the gradient with respect to what decides about query t is

    E[(G_t - b_t) grad log p(x_t | what came before)],    G_t = c_t + ... + c_T,

for any baseline b_t that does not depend on x_t. A discount g puts c_t + g c_t+1 + g^2 c_t+2 + ...
in place of G_t: for some bias less noise, since what a query brings about later is mostly chance.

Mixed, the cost of the query itself comes by back-propagation, since c_t is a function of x_t once
what came before is fixed, and the density is needed only for what follows (Schulman et al. 2015,
"Gradient Estimation Using Stochastic Computation Graphs"):
E[grad c_t(x_t) + (G_{t+1} - b_t) grad log p(x_t | ...)]. For the loss "oi", the first part is what
its stop-gradient form gives with feedback detached, and the second what that leaves out.
"""

import torch
from torch import Tensor

from agents.stochastic import StochasticAgent
from bbo_envs.core import Observation
from bbo_envs.problem import Problem, ProblemState
from training.configs import TrainConfig
from training.rollout import Trajectory, unroll

LOSSES = ("sum", "oi", "regret")

# What has to be left when one function is compared with the others of its micro-batch.
_FEWEST = 4
# How much the baseline's slope is drawn towards zero: this share of the mean variation of its
# feature over the steps.
_RIDGE = 0.05
# Variation below this share of all rows' is what rounding leaves where there is none.
_ROUNDING = 1e-9
# The discount of the loss "regret" in training.losses.
_DISCOUNT = 0.98
# No step counts for more than if its advantages varied by this share of those that vary most.
_LEAST_DEVIATION = 0.01


def reinforce_loss(
    agent: StochasticAgent,
    problem: Problem,
    start: tuple[ProblemState, Observation],
    generator: torch.Generator,
    config: TrainConfig,
    entropy: float,
) -> tuple[Tensor, Tensor]:
    """Plays a network on a micro-batch, and estimates the gradient of its loss.

    Args:
        agent: The network in its stochastic form.
        problem: The task.
        start: What ``problem.reset`` gave.
        generator: The network's randomness.
        config: Which loss, estimator, truncation and clipping.
        entropy: The weight of the entropy per coordinate.

    Returns:
        A number whose value is the mean loss per evaluation and whose gradient is the estimate,
        in which every step counts by how much its advantages vary; and the values ``[B, T]``.
    """
    mixed = config.estimator == "mixed" and problem.functions.differentiable
    run = unroll(
        agent,
        problem,
        start,
        generator,
        through="step" if mixed else "nothing",
        max_query_gradient=config.max_query_gradient,
        truncation=config.truncation,
    )
    optimum = problem.functions.optimum(start[0].function)
    cost, best = costs(run, config.loss, problem.functions.prior_mean, optimum)
    assert run.draw is not None  # the agent is a stochastic one
    surrogate = estimate(cost, run.draw.log_density, best, mixed, config.discount)
    surrogate = surrogate - entropy * run.draw.entropy / problem.functions.dim
    loss = cost.detach().mean() + surrogate.mean() - surrogate.detach().mean()
    return loss, run.value.detach()


def costs(
    run: Trajectory, loss: str, reference: float = 0.0, optimum: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attributes a loss to the queries: each has a cost that no later query changes.

    The sum of a run's costs is its loss. For ``"regret"``, a query pays or earns what it makes of
    the regret of all steps from its own on. Gradients pass to a cost from its own query's value
    alone.

    Args:
        run: The run.
        loss: One of ``LOSSES``, as in ``training.losses``.
        reference: The prior mean of the functions.
        optimum: The minima, for ``"regret"``; a constant stands in where they are not known.

    Returns:
        The costs ``[B, T]``, in float64; and the best value before each query ``[B, T]``, at first
        the reference.

    Example:
        >>> value = torch.tensor([[1.0, -2.0, -1.0]])
        >>> run = Trajectory(torch.zeros(1, 3, 1), value, Observation(None, None, None))
        >>> costs(run, "oi")[0].tolist()
        [[0.0, -2.0, 0.0]]
    """
    value = run.value.double()
    first = torch.full_like(value[:, :1], reference)
    best = torch.cat([first, value[:, :-1].detach()], 1).cummin(1).values
    if loss == "sum":
        return value, best
    if loss == "oi":
        return (value - best).clamp_max(0.0), best
    # The first value sets the regret, be it above the reference or not.
    least = first if optimum is None else optimum.to(value).expand(len(value)).unsqueeze(1)
    before = value[:, :-1].detach().cummin(1).values
    gain = torch.cat([value[:, :1] - least, (value[:, 1:] - before).clamp_max(0.0)], 1)
    weight = _DISCOUNT ** torch.arange(value.shape[1] - 1, -1, -1).to(value)
    return gain * to_go(weight / weight.mean()), best


def estimate(
    cost: Tensor,
    log_density: Tensor,
    best: Tensor,
    mixed: bool,
    discount: float = 1.0,
    standardise: bool = True,
) -> Tensor:
    """What to differentiate ``[B, T]``: its sum over t, averaged over rows, has the gradient.

    Args:
        cost: ``[B, T]`` the cost of each query.
        log_density: ``[B, T]`` that of each query given what came before.
        best: ``[B, T]`` the best value before each query, for the baseline.
        mixed: Whether costs pass gradients to their own queries.
        discount: What costs count of a query one evaluation earlier, in [0, 1].
        standardise: Divide what concerns a step by the deviation of its advantages over the rows:
            gains fall a thousandfold in the course of a run, and late queries are hardly heard
            without. With it the estimate is no longer of the gradient of one loss.
    """
    future = to_go(cost.detach(), discount)
    # The baseline sees what came before the query and the other rows, so that it may be taken off.
    advantage = advantages(future - cost.detach() if mixed else future, best)
    surrogate = advantage * log_density
    if mixed:
        surrogate = surrogate + cost
    if standardise:
        deviation = advantages(future, best).std(0)
        least = (_LEAST_DEVIATION * deviation.max()).clamp_min(torch.finfo(cost.dtype).tiny)
        surrogate = surrogate / deviation.maximum(least)
    return surrogate


def to_go(cost: Tensor, discount: float = 1.0) -> Tensor:
    """The discounted sums over what is to come, the step itself included, along the last axis.

    Example:
        >>> to_go(torch.tensor([1.0, 2.0, 4.0]))
        tensor([7., 6., 4.])
        >>> to_go(torch.tensor([1.0, 2.0, 4.0]), discount=0.5)
        tensor([3., 4., 4.])
    """
    step = torch.arange(cost.shape[-1], device=cost.device)
    later = (step - step.unsqueeze(1)).clamp_min(0)
    return cost @ (discount**later).to(cost).triu().mT


def advantages(outcome: Tensor, feature: Tensor) -> Tensor:
    """Outcomes ``[B, T]`` against what the other rows let expect at the same step.

    The expectation is a ridge regression on the feature over the other rows alone, so that it does
    not depend on the row's own queries and the estimate stays unbiased.

    Args:
        outcome: ``[B, T]``.
        feature: ``[B, T]`` something of each row that its query does not change.

    Example:
        >>> rows = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> advantages(10.0 * rows, torch.zeros(4, 1)).squeeze(1)
        tensor([-20.0000,  -6.6667,   6.6667,  20.0000])
    """
    share = len(outcome) / (len(outcome) - 1)
    # Against the first row, so that what is the same in all of them is zero to the bit.
    z = feature - feature[:1]
    y, z = outcome - outcome.mean(0), z - z.mean(0)
    # Sums over the other rows, about their own means.
    variation = z.square().sum(0) - share * z.square()
    variation = torch.where(variation > _ROUNDING * z.square().sum(0), variation, 0.0)
    together = (z * y).sum(0) - share * z * y
    ridge = _RIDGE * variation.mean(1, keepdim=True)
    slope = torch.where(variation + ridge > 0.0, together / (variation + ridge), 0.0)
    return share * (y - slope * z)


def check_reinforce(config: TrainConfig, agent: StochasticAgent) -> None:
    """Checks that a network can be trained by REINFORCE as a configuration says.

    Raises:
        ValueError: If it has another loss, too few functions to compare, the network 'pfn', or a
            choice among proposals through which no gradient passes.
    """
    if config.network == "pfn":
        raise ValueError(
            f"the network 'pfn' is taught by the loss 'acquisition', not by "
            f"estimator={config.estimator!r}; change either"
        )
    if config.loss not in LOSSES:
        raise ValueError(
            f"estimator={config.estimator!r} takes the losses {', '.join(LOSSES)}, got "
            f"{config.loss!r}; change either"
        )
    rows = config.batch // config.micro_batches
    if rows < _FEWEST:
        raise ValueError(
            f"estimator={config.estimator!r} compares at least {_FEWEST} functions, got "
            f"{config.batch} in {config.micro_batches} micro_batches; raise batch"
        )
    chosen_from = agent.architecture["network"].get("proposals", 1)
    if config.estimator == "mixed" and chosen_from > 1:
        raise ValueError(
            f"no gradient passes through the choice of the network {config.network!r} among its "
            f"{chosen_from} proposals; use estimator='score', or "
            'network_arguments={"proposals": 1}'
        )
