"""The families of tasks: what each builds from the arguments that a user may give."""

import torch

from bbo_envs.errors import UnknownNameError
from bbo_envs.functions.base import Functions
from bbo_envs.functions.classics import Scalable
from bbo_envs.functions.gp import ExactGP, FourierGP
from bbo_envs.functions.kernels import make_kernel
from bbo_envs.functions.synthetic import Synthetic
from bbo_envs.functions.transformed import perturbed


def gp_length_scale(dim: int) -> float:
    """The length scale of the GP tasks: 0.1 for d = 1, 0.2 for d = 2 to 5, 0.3 from 6 on.

    *Inferred*: Chen et al. 2017 publish none, and no single one fits all four of their plots.

    Example:
        >>> gp_length_scale(6)
        0.3
    """
    if dim == 1:
        return 0.1
    return 0.2 if dim < 6 else 0.3


def gp_functions(
    dim: int = 2,
    *,
    budget: int,
    kernel: str = "rbf",
    length_scale: float | None = None,
    sampler: str = "exact",
    features: int = 512,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Functions:
    """GP prior samples: the ``BBO-GP`` tasks.

    Args:
        dim: The number of coordinates.
        budget: The number of evaluations that the exact sampler makes room for.
        kernel: ``"rbf"`` or ``"matern52"``.
        length_scale: Defaults to ``gp_length_scale(dim)``.
        sampler: ``"exact"`` (drawn along the queries) or ``"fourier"`` (random Fourier features:
            faster, and a seed means the same function for every optimiser).
        features: The number of features of the Fourier sampler.
        dtype: Of all tensors.
        device: Of all tensors.

    Raises:
        UnknownNameError: If no kernel or sampler has this name.
        ValueError: If a number is out of range.
    """
    scale = gp_length_scale(dim) if length_scale is None else length_scale
    if sampler == "exact":
        return ExactGP(dim, make_kernel(kernel, scale), budget, dtype=dtype, device=device)
    if sampler == "fourier":
        return FourierGP(dim, make_kernel(kernel, scale), features, dtype=dtype, device=device)
    raise UnknownNameError("sampler", sampler, ["exact", "fourier"])


def synthetic_functions(
    function: type[Synthetic],
    *,
    perturb: bool = False,
    rescaled: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Functions:
    """A published function: raw on its published box, unless asked otherwise.

    Args:
        function: The function.
        perturb: Draw the random translation, scaling, flips and permutation of Chen et al. 2017
            at every reset.
        rescaled: Give the form with mean zero and variance one.
        dtype: Of all tensors.
        device: Of all tensors.
    """
    published = function(rescaled, dtype, device)
    return perturbed(published) if perturb else published


def scalable_functions(
    function: type[Scalable],
    dim: int = 2,
    *,
    perturb: bool = False,
    rescaled: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Functions:
    """A test function that is defined for every number of dimensions.

    Args:
        function: The function.
        dim: The number of coordinates.
        perturb: As for ``synthetic_functions``.
        rescaled: Likewise.
        dtype: Of all tensors.
        device: Of all tensors.
    """
    published = function(dim, rescaled, dtype, device)
    return perturbed(published) if perturb else published
