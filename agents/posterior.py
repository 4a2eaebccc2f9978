"""What a Gaussian process believes about a function whose kernel and scale nobody tells.

A small grid of hypotheses (kernel, length scale, noise; and a warp of the values) is weighed by
marginal likelihood; mean and amplitude of each are integrated in closed form, so that nothing
changes when y becomes a * y + b.
Rasmussen & Williams 2006, sections 2.2, 2.7 and 5.4.1. Each evaluation adds a row to the inverse
of every Cholesky factor, O(t^2).

Nothing here is differentiated through: see ``PosteriorGuidedAgent``.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from agents.warps import warp

# Length scales grow with the root of the dimension, as distances do (Hvarfner, Hellsten & Nardi
# 2024, "Vanilla Bayesian Optimization Performs Great in High Dimensions").
_LENGTH_SCALE = 0.135
# The deviation of the logarithm of the length scale under the prior.
_WIDTH = 0.35
# (Matern 5/2 or RBF, length scale relative to the prior's middle, noise variance, prior weight).
_GRID = [
    *((False, ratio, 1e-4, 1.0) for ratio in (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)),
    *((False, ratio, 3e-2, 0.1) for ratio in (0.7, 1.2, 2.0)),
    *((True, ratio, 1e-4, 0.2) for ratio in (0.25, 0.5, 1.0, 2.0, 4.0)),
    (True, 1.4, 3e-2, 0.1),
]
# How much the amplitude is drawn to the deviation of the values seen, and the mean to their mean,
# in evaluations.
_AMPLITUDE_STRENGTH = 0.15
_MEAN_STRENGTH = 0.03
# How much longer than it can be a row of an inverse factor may come out, by rounding.
_LONGEST_ROW = 1.05


class Hypotheses(NamedTuple):
    """Candidate covariances; M per row, or the whole grid with B = 1.

    Attributes:
        matern: ``[B, M]`` whether the kernel is Matern 5/2; otherwise RBF.
        length_scale: ``[B, M]``.
        noise: ``[B, M]`` variance of the noise, relative to that of the function.
        log_prior: ``[B, M]``.
    """

    matern: Tensor
    length_scale: Tensor
    noise: Tensor
    log_prior: Tensor


class Beliefs(NamedTuple):
    """What has been seen, and the grid of hypotheses about it.

    Attributes:
        grid: K hypotheses, the same for all rows.
        x: ``[B, t, d]``.
        y: ``[B, t]`` raw values (float64).
        seen: ``[B, t]`` 1 where an evaluation came back, 0 in rows where none did.
        inverse: ``[B, K, t, t]`` L^-1, where L L^T = K(x, x) + noise.
    """

    grid: Hypotheses
    x: Tensor
    y: Tensor
    seen: Tensor
    inverse: Tensor


class Posterior(NamedTuple):
    """The posterior under M hypotheses per row, in units of the deviation of the warped values.

    Attributes:
        hypotheses: M per row.
        warp: ``[B, M]`` which warp of the values each goes with (``agents.warps.WARPS``).
        weight: ``[B, M]`` their probabilities.
        centre: ``[B, M]`` the mean far from all data.
        amplitude: ``[B, M]`` the deviation far from all data.
        x: ``[B, t, d]`` the points conditioned on.
        seen: ``[B, t]`` which of them are there.
        precision: ``[B, M]`` that of the centre, in units of 1 / amplitude^2.
        coefficient: ``[B, M, t]`` K^-1 (y - centre).
        influence: ``[B, M, t]`` K^-1 1.
        inverse: ``[B, M, t, t]``.
        incumbent: ``[B, M]`` the lowest posterior mean at a point seen.
    """

    hypotheses: Hypotheses
    warp: Tensor
    weight: Tensor
    centre: Tensor
    amplitude: Tensor
    x: Tensor
    seen: Tensor
    precision: Tensor
    coefficient: Tensor
    influence: Tensor
    inverse: Tensor
    incumbent: Tensor


def hypotheses(dim: int, dtype: torch.dtype, device: torch.device) -> Hypotheses:
    """The grid for d dimensions, shapes ``[1, K]``.

    Example:
        >>> grid = hypotheses(6, torch.float64, torch.device("cpu"))
        >>> round(grid.log_prior.exp().sum().item(), 6)
        1.0
    """
    matern, ratio, noise, weight = (list(column) for column in zip(*_GRID, strict=True))
    length_scale = torch.tensor(ratio, dtype=dtype, device=device) * _LENGTH_SCALE * dim**0.5
    spread = torch.tensor(ratio, dtype=dtype, device=device).log() / _WIDTH
    log_weight = torch.tensor(weight, dtype=dtype, device=device).log() - 0.5 * spread.square()
    return Hypotheses(
        torch.tensor(matern, device=device).unsqueeze(0),
        length_scale.unsqueeze(0),
        torch.tensor(noise, dtype=dtype, device=device).unsqueeze(0),
        log_weight.log_softmax(-1).unsqueeze(0),
    )


def no_beliefs(batch: int, dim: int, dtype: torch.dtype, device: torch.device) -> Beliefs:
    """The beliefs before the first query."""
    grid = hypotheses(dim, dtype, device)
    empty = torch.zeros(batch, 0, dtype=dtype, device=device)
    inverse = empty.new_zeros(batch, grid.noise.shape[1], 0, 0)
    return Beliefs(grid, empty.new_zeros(batch, 0, dim), empty.double(), empty, inverse)


def covariance(kinds: Hypotheses, z: Tensor, x: Tensor) -> Tensor:
    """k(z, x) ``[B, M, n, t]`` of points ``[B, n, d]`` and ``[B, t, d]``, with k(x, x) = 1.

    Example:
        >>> grid = hypotheses(2, torch.float64, torch.device("cpu"))
        >>> point = torch.rand(1, 1, 2, dtype=torch.float64)
        >>> bool((covariance(grid, point, point) - 1.0).abs().max() < 1e-9)
        True
    """
    if z.shape[1] == 1:
        squared = (z - x).square().sum(-1).unsqueeze(1)
    else:
        # Products of matrices are much faster. What the subtraction cancels would harm a factor,
        # to which one point is added at a time, but not a prediction.
        z, x = z - 0.5, x - 0.5
        ends = z.square().sum(-1).unsqueeze(-1) + x.square().sum(-1).unsqueeze(-2)
        squared = torch.baddbmm(ends, z, x.mT, alpha=-2.0).clamp_min(0.0)
    scaled = squared.unsqueeze(1) / kinds.length_scale.square()[..., None, None]
    values = torch.exp(-0.5 * scaled)
    if not bool(kinds.matern.any()):
        return values
    # The floor keeps the gradient of the root finite at a distance of zero.
    r = (5.0 * scaled).clamp_min(1e-12).sqrt()
    rough = (1.0 + r + r.square() / 3.0) * torch.exp(-r)
    return torch.where(kinds.matern[..., None, None], rough, values)


def observe(beliefs: Beliefs, x: Tensor, y: Tensor, o: Tensor) -> Beliefs:
    """Adds an evaluation to each row where o = 1; O(K t^2) per row.

    Args:
        beliefs: The beliefs so far.
        x: ``[B, d]`` the points that came back.
        y: ``[B]`` their raw values.
        o: ``[B]`` 1 where one came back, 0 where none did.
    """
    grid, seen = beliefs.grid, o.to(beliefs.seen).unsqueeze(-1)
    point = x.to(beliefs.x).unsqueeze(1)
    inverse = _grow(beliefs.inverse, grid, beliefs.x, beliefs.seen, point, seen)
    return Beliefs(
        grid,
        torch.cat([beliefs.x, point], 1),
        torch.cat([beliefs.y, y.double().unsqueeze(1)], 1),
        torch.cat([beliefs.seen, seen], 1),
        inverse,
    )


def _grow(
    inverse: Tensor, kinds: Hypotheses, x: Tensor, seen: Tensor, point: Tensor, new: Tensor
) -> Tensor:
    """The inverse factors with a row more; rows that are not there are those of the identity."""
    cross = covariance(kinds, point, x) * (seen * new)[:, None, None]
    cross = (cross @ inverse.mT).squeeze(2)
    noise = kinds.noise.expand(cross.shape[:2])
    # Rounding may make the rest negative where a point repeats; it is never less than the noise.
    rest = (1.0 + noise - cross.square().sum(-1)).maximum(noise).sqrt()
    rest = torch.where(new > 0, rest, 1.0)
    row = -(cross.unsqueeze(2) @ inverse) / rest[..., None, None]
    column = torch.zeros_like(row).mT
    row = torch.cat([row, 1.0 / rest[..., None, None]], -1)
    grown = torch.cat([torch.cat([inverse, column], -1), row], -2)
    # No row is longer than the inverse root of the smallest eigenvalue, which is the noise at
    # least. Where one is, errors have grown with the rows, and would soon grow without bound.
    spoilt = ~(row.squeeze(2).norm(dim=-1) <= _LONGEST_ROW / noise.sqrt())
    if bool(spoilt.any()):
        points, there = torch.cat([x, point], 1), torch.cat([seen, new], 1)
        grown[spoilt] = _inverse_factors(kinds, points, there, spoilt).to(grown)
    return grown


def _inverse_factors(kinds: Hypotheses, x: Tensor, seen: Tensor, which: Tensor) -> Tensor:
    """The inverse factors ``[n, t, t]`` of n pairs of a row and a hypothesis, computed anew."""
    row, _ = which.nonzero(as_tuple=True)
    alone = Hypotheses(*(part.expand_as(which)[which].unsqueeze(1) for part in kinds))
    alone = alone._replace(length_scale=alone.length_scale.double())
    both = seen[row].unsqueeze(1) * seen[row].unsqueeze(2)
    values = covariance(alone, x[row].double(), x[row].double()).squeeze(1) * both
    diagonal = torch.where(seen[row] > 0, 1.0 + alone.noise, 1.0).double()
    values.diagonal(dim1=-2, dim2=-1).copy_(diagonal)
    identity = torch.eye(x.shape[1], dtype=values.dtype, device=values.device)
    factor = torch.linalg.cholesky(values)
    inverse: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
    return inverse


def condition(beliefs: Beliefs, most: int) -> Posterior:
    """The posterior under the ``most`` likeliest hypotheses of each row.

    Amplitude and mean have their conjugate priors, centred on the deviation and mean of the values
    and worth a fraction of an evaluation, so that the first few queries make sense too; as under a
    flat prior of the mean, it costs one degree of freedom.

    Args:
        beliefs: The beliefs.
        most: How many hypotheses to keep.
    """
    grid, seen, inverse = beliefs.grid, beliefs.seen, beliefs.inverse
    y, log_warp = (part.to(seen) for part in warp(beliefs.y, seen))
    count = seen.sum(-1, keepdim=True)
    freedom = (count - 1.0).clamp_min(0.0) + _AMPLITUDE_STRENGTH
    # Of every covariance and every warp, [B, K, W].
    ones, precision = (part.unsqueeze(2) for part in _centre(inverse, seen))
    whitened = (inverse @ y.mT.unsqueeze(1)).mT
    centre = (whitened * ones).sum(-1) / precision
    residual = whitened - centre.unsqueeze(-1) * ones
    square = residual.square().sum(-1) + _MEAN_STRENGTH * centre.square() + _AMPLITUDE_STRENGTH
    log_determinant = inverse.diagonal(dim1=-2, dim2=-1).log().sum(-1).unsqueeze(-1)
    likelihood = (
        log_determinant - 0.5 * precision.log() - 0.5 * freedom.unsqueeze(-1) * square.log()
    )
    prior = grid.log_prior.unsqueeze(-1) + log_warp.unsqueeze(1)
    probability = (likelihood + prior).flatten(1).softmax(-1)
    weight, kept = probability.topk(min(most, probability.shape[1]))
    which, warped = kept // y.shape[1], kept % y.shape[1]
    residual, centre, square = (
        _take(part.flatten(1, 2), kept) for part in (residual, centre, square)
    )
    ones, precision, inverse = (
        _take(part, which) for part in (ones.squeeze(2), precision.squeeze(2), inverse)
    )
    both = torch.stack([residual, ones], -2) @ inverse
    coefficient, influence = both.unbind(-2)
    kinds = Hypotheses(*(_take(part.expand(len(kept), -1), which) for part in grid))
    # At a point seen, the posterior mean is the value less its share of the noise.
    at_seen = _take(y, warped) - kinds.noise.unsqueeze(-1) * coefficient
    at_seen = at_seen.masked_fill(seen.unsqueeze(1) == 0, torch.inf)
    lowest = at_seen.min(-1).values if seen.shape[1] else torch.zeros_like(centre)
    return Posterior(
        kinds,
        warped,
        weight / weight.sum(-1, keepdim=True),
        centre,
        (square / freedom).sqrt(),
        beliefs.x,
        seen,
        precision,
        coefficient,
        influence,
        inverse,
        torch.where(count > 0, lowest, centre),
    )


def _centre(inverse: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """L^-1 1 ``[B, M, t]``, and the precision of the centre, in units of 1 / amplitude^2."""
    ones = (inverse @ seen[:, None, :, None]).squeeze(-1)
    return ones, ones.square().sum(-1) + _MEAN_STRENGTH


def likeliest(posterior: Posterior) -> Posterior:
    """The posterior under each row's likeliest hypothesis alone, for a quick first look."""
    alone = {
        name: getattr(posterior, name)[:, :1]
        for name in posterior._fields
        if name not in ("hypotheses", "x", "seen")
    }
    kinds = Hypotheses(*(part[:, :1] for part in posterior.hypotheses))
    return posterior._replace(hypotheses=kinds, **alone)


def suppose(posterior: Posterior, x: Tensor, there: Tensor) -> Posterior:
    """Conditions on evaluations that are still out, as if each returned the posterior mean.

    The deviation changes, not the mean (Desautels, Krause & Burdick 2014, "Parallelizing
    exploration-exploitation tradeoffs in Gaussian process bandit optimization", section 4); and
    the lowest mean among the points supposed becomes the incumbent, if it is lower.

    Args:
        posterior: The posterior.
        x: ``[B, n, d]`` the points.
        there: ``[B, n]`` 1 where there is one.
    """
    if not x.shape[1]:
        return posterior
    mean = predict(posterior, x)[0].masked_fill(there.unsqueeze(1) == 0, torch.inf)
    lowest = torch.minimum(posterior.incumbent, mean.min(-1).values)
    posterior = posterior._replace(incumbent=lowest)
    for i in range(x.shape[1]):
        point, new = x[:, i : i + 1], there[:, i : i + 1]
        inverse = _grow(
            posterior.inverse, posterior.hypotheses, posterior.x, posterior.seen, point, new
        )
        nothing = torch.zeros_like(posterior.centre).unsqueeze(-1)
        posterior = posterior._replace(
            x=torch.cat([posterior.x, point], 1),
            seen=torch.cat([posterior.seen, new], 1),
            coefficient=torch.cat([posterior.coefficient, nothing], -1),
            inverse=inverse,
        )
    ones, precision = _centre(posterior.inverse, posterior.seen)
    influence = (ones.unsqueeze(-2) @ posterior.inverse).squeeze(-2)
    return posterior._replace(precision=precision, influence=influence)


def predict(posterior: Posterior, z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation ``[B, M, n]`` of f at points ``[B, n, d]`` under each hypothesis.

    The deviation includes what is not known of the centre: Rasmussen & Williams 2006, equation
    2.42.
    """
    cross = covariance(posterior.hypotheses, z, posterior.x) * posterior.seen[:, None, None]
    weights = torch.stack([posterior.coefficient, posterior.influence], -1)
    mean, known = (cross @ weights).unbind(-1)
    reduction = (cross @ posterior.inverse.mT).square().sum(-1)
    unknown = (1.0 - known).square() / posterior.precision.unsqueeze(-1)
    # Where rounding leaves nothing, a small deviation keeps quotients and gradients finite.
    deviation = (1.0 - reduction + unknown).clamp_min(1e-6).sqrt()
    return (
        posterior.centre.unsqueeze(-1) + mean,
        posterior.amplitude.unsqueeze(-1) * deviation,
    )


def log_probability_of_improvement(
    posterior: Posterior, z: Tensor, margin: float | Tensor
) -> Tensor:
    """Log P(f(z) < incumbent - margin * amplitude) ``[B, n]``, averaged over the hypotheses.

    Kushner 1964; the margin says how far the search looks: a large one explores, zero exploits.

    Args:
        posterior: The posterior.
        z: ``[B, n, d]``.
        margin: In amplitudes of the function, at least 0; a number, or one per row, ``[B, 1]``.
    """
    mean, deviation = predict(posterior, z)
    target = posterior.incumbent - margin * posterior.amplitude
    score = (target.unsqueeze(-1) - mean) / deviation
    weight = posterior.weight.clamp_min(1e-30).log().unsqueeze(-1)
    result: Tensor = torch.logsumexp(weight + torch.special.log_ndtr(score), 1)
    return result


def _take(part: Tensor, kept: Tensor) -> Tensor:
    """Picks hypotheses ``[B, M]`` out of ``[B, K, ...]``."""
    index = kept.view(*kept.shape, *[1] * (part.dim() - 2)).expand(-1, -1, *part.shape[2:])
    return part.gather(1, index)
