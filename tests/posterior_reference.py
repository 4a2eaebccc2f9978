"""The averaged GP posterior written out in NumPy, and evaluations to try it on."""

import numpy as np
import torch
from sklearn.gaussian_process import kernels

from agents import posterior as module
from agents.posterior import Hypotheses, no_beliefs, observe
from agents.warps import WARPS

CPU = torch.device("cpu")
DOUBLE = torch.float64
EVERY = 1_000  # more hypotheses than there are


def uniform(*shape, seed=0, dtype=DOUBLE):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def normal(*shape, seed=1):
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def believe(x, y, o=None, dtype=DOUBLE):
    """Beliefs after the evaluations x [B, t, d], y [B, t], one after the other."""
    o = torch.ones_like(y) if o is None else o
    beliefs = no_beliefs(len(x), x.shape[2], dtype, CPU)
    for t in range(x.shape[1]):
        beliefs = observe(beliefs, x[:, t], y[:, t], o[:, t])
    return beliefs


def kernel(kinds, k):
    """scikit-learn's kernel of a hypothesis."""
    length_scale = kinds.length_scale[0, k].item()
    return kernels.Matern(length_scale, nu=2.5) if kinds.matern[0, k] else kernels.RBF(length_scale)


def warped(y, w):
    """Values under a warp, of mean zero and deviation one, and its log weight, prior and slopes."""
    c, prior = WARPS[w]
    excess = y - y.min()
    unit = np.sort(excess)[len(y) // 2]
    values = excess if np.isinf(c) else np.log(excess + c * unit)
    slope = np.ones(len(y)) if np.isinf(c) else 1.0 / (excess + c * unit)
    return (values - values.mean()) / values.std(), np.log(prior) + np.log(
        slope / values.std()
    ).sum()


def direct(kinds, k, w, x, y, z):
    """Mean, deviation and so on at z under one hypothesis and warp, from the formulas, O(t^3).

    For warped values y ~ N(m, s^2 C), m ~ N(0, s^2 / b), s^2 scaled inverse chi-squared (a, 1),
    where one degree of freedom goes to the mean.
    """
    y, log_warp = warped(y, w)
    a, b = module._AMPLITUDE_STRENGTH, module._MEAN_STRENGTH
    k_of, noise, ones = kernel(kinds, k), kinds.noise[0, k].item(), np.ones(len(y))
    inverse = np.linalg.inv(k_of(x) + noise * np.eye(len(x)))
    precision = ones @ inverse @ ones + b
    centre = ones @ inverse @ y / precision
    rest = y - centre
    square = rest @ inverse @ rest + b * centre**2 + a
    freedom = len(y) - 1 + a
    cross = k_of(z, x)
    reduction = np.einsum("nt,ts,ns->n", cross, inverse, cross)
    unknown = (1.0 - cross @ inverse @ ones) ** 2 / precision
    at_seen = centre + k_of(x) @ inverse @ rest
    return {
        "centre": centre,
        "amplitude": np.sqrt(square / freedom),
        "mean": centre + cross @ inverse @ rest,
        "deviation": np.sqrt(square / freedom * (1.0 - reduction + unknown)),
        "incumbent": at_seen.min(),
        "score": log_warp
        + kinds.log_prior[0, k].item()
        + 0.5 * np.linalg.slogdet(inverse)[1]
        - 0.5 * np.log(precision)
        - 0.5 * freedom * np.log(square),
    }


def plain(posterior):
    """The hypotheses whose values are not warped, all of them."""
    kept = (posterior.warp == 0).nonzero()[:, 1].view(len(posterior.warp), -1)
    parts = {
        name: module._take(getattr(posterior, name), kept)
        for name in posterior._fields
        if name not in ("hypotheses", "x", "seen")
    }
    weight = parts.pop("weight")
    return posterior._replace(
        hypotheses=Hypotheses(*(module._take(part, kept) for part in posterior.hypotheses)),
        weight=weight / weight.sum(1, keepdim=True),
        **parts,
    )


def place(kinds, grid):
    """Which hypothesis of the grid each of the M in a row is, ``[B, M]``."""
    same = [a.unsqueeze(2) == b.unsqueeze(1) for a, b in zip(kinds[:3], grid[:3], strict=True)]
    return torch.stack(same).all(0).int().argmax(2)


def some_evaluations(dim, number=9, batch=3):
    x, y = uniform(batch, number, dim), 3.0 + 2.0 * normal(batch, number)
    o = (uniform(batch, number, seed=2) < 0.7).double()
    return x, y * o, o
