"""Distributions over queries: normal around what a network proposes, truncated to the unit cube.

Truncated rather than squashed: locations are points of the cube, so that an offset from an
incumbent on its boundary is as good as any, which a logistic or hyperbolic tangent would send to
infinity; a wide distribution tends to the uniform one, of the largest entropy that there is, where
a wide squashed one piles up at the corners; density, entropy and quantiles have closed forms.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

_ROOT_2 = math.sqrt(2.0)
_LOG_ROOT_2_PI = 0.5 * math.log(2.0 * math.pi)


class Policy(NamedTuple):
    """What a query is drawn from: one of P points by their weights, and then around it.

    Around a point, coordinates are independent, each from N(point, scale^2) truncated to [0, 1].

    Attributes:
        location: ``[B, P, d]`` points of the unit cube.
        log_weight: ``[B, P]`` the logarithms of their probabilities.
        chosen: ``[B, d]`` that point among them which has been drawn.
        scale: ``[B, 1]``, positive.
    """

    location: Tensor
    log_weight: Tensor
    chosen: Tensor
    scale: Tensor


def sample(policy: Policy, uniform: Tensor) -> Tensor:
    """Draws queries ``[B, d]`` around the chosen points, by inversion.

    Gradients pass to the chosen points and to the scale.

    Args:
        policy: What to draw from.
        uniform: ``[B, d]`` random numbers in (0, 1), in float64.

    Example:
        >>> centre = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
        >>> policy = Policy(centre.unsqueeze(1), torch.zeros(1, 1), centre, torch.ones(1, 1))
        >>> sample(policy, torch.tensor([[0.5, 0.99]]).double()).round(decimals=2).tolist()
        [[0.5, 0.99]]
    """
    location, scale = policy.chosen, policy.scale
    below = torch.special.ndtr(-location / scale)
    z = torch.special.ndtri(below + uniform * _mass(location, scale))
    # What rounding puts outside goes back.
    x: Tensor = (location + scale * z).clamp(0.0, 1.0)
    return x


def log_density(policy: Policy, x: Tensor) -> Tensor:
    """The logarithm ``[B]`` of the density at queries ``[B, d]``, over all that might be chosen.

    Example:
        >>> centre = torch.tensor([[0.5]], dtype=torch.float64)
        >>> wide = torch.full((1, 1), 1e3, dtype=torch.float64)
        >>> policy = Policy(centre.unsqueeze(1), torch.zeros(1, 1), centre, wide)
        >>> round(log_density(policy, torch.tensor([[0.2]])).item(), 6)
        -0.0
    """
    scale = policy.scale.unsqueeze(1)
    z = (x.unsqueeze(1) - policy.location) / scale
    mass = _mass(policy.location, scale)
    each = -0.5 * z.square() - scale.log() - _LOG_ROOT_2_PI - mass.log()
    return (policy.log_weight + each.sum(-1)).logsumexp(-1)


def entropy(policy: Policy) -> Tensor:
    """The entropy ``[B]`` of the choice and the query together, in nats.

    It is that of the query where there is nothing to choose; else an upper bound.

    Example:
        >>> centre = torch.tensor([[0.5]], dtype=torch.float64)
        >>> narrow = torch.full((1, 1), 0.01, dtype=torch.float64)
        >>> policy = Policy(centre.unsqueeze(1), torch.zeros(1, 1), centre, narrow)
        >>> round(entropy(policy).item(), 6) == round(0.5 + _LOG_ROOT_2_PI + math.log(0.01), 6)
        True
    """
    scale = policy.scale.unsqueeze(1)
    below, above = policy.location / scale, (1.0 - policy.location) / scale
    mass = _mass(policy.location, scale)
    tails = (below * _density(below) + above * _density(above)) / (2.0 * mass)
    around = (0.5 + _LOG_ROOT_2_PI + scale.log() + mass.log() - tails).sum(-1)
    return (policy.log_weight.exp() * (around - policy.log_weight)).sum(-1)


def _mass(location: Tensor, scale: Tensor) -> Tensor:
    """What the normal distribution has inside [0, 1]; a sum of two positive parts, so exact."""
    below, above = location / scale, (1.0 - location) / scale
    return 0.5 * (torch.erf(below / _ROOT_2) + torch.erf(above / _ROOT_2))


def _density(z: Tensor) -> Tensor:
    return (-0.5 * z.square() - _LOG_ROOT_2_PI).exp()
