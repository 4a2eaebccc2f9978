"""Spearmint's optimiser (Snoek et al. 2012 and 2014) as BoTorch offers it today.

A GP with a Matern 5/2 kernel and a length scale per parameter, the inputs warped by the
distribution function of a Kumaraswamy law, all hyper-parameters integrated out by Monte Carlo, and
expected improvement averaged over their samples: BoTorch's ``FullyBayesianSingleTaskGP``, fitted
by ``fit_fully_bayesian_model_nuts``, both in their default configuration.

What differs from Spearmint: the sampler is NUTS instead of slice sampling, and keeps 16 samples
instead of 10. The Kumaraswamy law replaces the beta law, which it resembles. The values are
standardised and the kernel's variance is fixed at 1, where Spearmint samples it. The priors are
BoTorch's: that of a length scale is log-normal, longer in more dimensions, instead of uniform up
to 2, and that of the noise a gamma law instead of a horseshoe. EI is maximised as LogEI (Ament et
al. 2023), by L-BFGS-B from 10 of 512 Sobol points; with queries out, it is BoTorch's qLogEI instead
of an average over fantasies.

It needs ``botorch[fully-bayesian]``, which brings JAX and NumPyro. They keep no global random
state: the sampler is given its seed.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from botorch.acquisition import LogExpectedImprovement
from botorch.fit import fit_fully_bayesian_model_nuts
from botorch.models.fully_bayesian import FullyBayesianSingleTaskGP, MaternPyroModel
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf
from botorch.utils.sampling import manual_seed
from torch import Tensor

from agents.baselines.gp_ei import GPEI, Run
from agents.baselines.gp_side_by_side import SEARCH, as_botorch_needs, cube
from bbo_envs.core import Observation
from bbo_envs.problem import Problem


class _Density(MaternPyroModel):  # type: ignore[misc]
    """The density that is sampled from, with the warping with which the model predicts.

    BoTorch 0.18.1 swaps the two parameters: it samples them for ``1 - (1 - x**c0)**c1``, and
    predicts with ``1 - (1 - x**c1)**c0``.
    """

    def _warp_jax(self, X: jax.Array, c0: jax.Array, c1: jax.Array) -> jax.Array:  # noqa: N803
        # At 0 and 1 the gradient is not finite.
        return 1 - (1 - jnp.clip(X, self._eps, 1 - self._eps) ** c1) ** c0


class _Model(FullyBayesianSingleTaskGP):  # type: ignore[misc]
    _pyro_model_class = _Density


class GPBayesian(GPEI):
    """GP-EI, but for its model: the hyper-parameters are sampled before each proposal.

    The design is that of GP-EI, and parallel workers are served as there.
    """

    def step(self, state: list[Run], observation: Observation) -> tuple[Tensor, list[Run]]:
        queries, state = super().step(state, observation)
        # Every number of values compiles anew, and JAX keeps what it compiled: 0.1 GB a step.
        if max(run.asked for run in state) % 5 == 0:
            jax.clear_caches()
        return queries, state

    def _propose(self, runs: Sequence[Run]) -> Tensor:
        return torch.stack([self._propose_alone(run) for run in runs])

    def _propose_alone(self, run: Run) -> Tensor:
        with as_botorch_needs(), manual_seed(run.seed + run.asked):
            acquisition = LogExpectedImprovement(self._model([run]), -min(run.y))
            best: Tensor = optimize_acqf(acquisition, cube(len(run.x[0])), q=1, **SEARCH)[0]
        return best[0]

    def _model(self, runs: Sequence[Run]) -> Any:
        (run,) = runs
        y = -torch.tensor(run.y, dtype=torch.float64).unsqueeze(-1)  # BoTorch maximises
        # In JAX's single precision, warped points at the edges of the cube round to 0 and 1.
        with jax.enable_x64(True), jax.default_device("cpu"):
            model = _Model(
                torch.tensor(np.array(run.x)),
                y,
                outcome_transform=Standardize(1),
                use_input_warping=True,
            )
            seed = run.seed + run.asked
            fit_fully_bayesian_model_nuts(model, disable_progbar=True, seed=seed)
        return model


def gp_bayesian(problem: Problem) -> GPBayesian:
    """GP-EI with input warping, averaged over 16 samples of all hyper-parameters.

    A proposal takes seconds, nearly all of which JAX compiles the sampler; it does so anew for
    every number of values.

    Example:
        >>> import torch
        >>> from bbo_envs import make_problem
        >>> problem = make_problem("BBO-GP-2d-v0")
        >>> generator = torch.Generator().manual_seed(0)
        >>> _, observation = problem.reset(1, generator)
        >>> agent = gp_bayesian(problem)
        >>> x, _ = agent.step(agent.init(1, problem.space, 100, generator), observation)
        >>> x.shape
        torch.Size([1, 2])
    """
    return GPBayesian()
