"""The Gymnasium environments: numpy in, ``Problem.step`` without gradients, numpy out."""

from collections.abc import Sequence
from typing import Any, SupportsIndex

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from bbo_envs.checks import positive_integer
from bbo_envs.core import Observation
from bbo_envs.errors import QueryError
from bbo_envs.problem import Problem, ProblemState
from bbo_envs.rendering import RENDER_MODES, Episode, check_render_mode, render
from bbo_envs.seeds import EnvironmentSeeds

_NOT_RESET = "call reset() before step()"


def observation_space(dim: int) -> spaces.Tuple[Any]:
    """The space of one ``Observation``: x in the unit cube, y any number, o in {0, 1}."""
    return spaces.Tuple(
        (
            spaces.Box(0.0, 1.0, (dim,), np.float32),
            spaces.Box(-np.inf, np.inf, (), np.float32),
            spaces.Box(0.0, 1.0, (), np.float32),
        )
    )


class BlackBoxEnv(gymnasium.Env[Any, NDArray[Any]]):
    """A black-box optimisation task in which the agent is the optimiser.

    An action is the next query, a point of the unit cube; the observation is what came back
    (``bbo_envs.Observation``); the reward is the problem's; the last evaluation of the budget
    terminates the episode. ``info`` holds ``t`` (queries asked) and ``clock`` (simulated time);
    once anything came back, ``best_x`` and ``best_y``, the incumbent; and after each step
    ``x_native``, the query in the objective's own units.

    Args:
        problem: The task, which should be in float64 on the CPU.
        render_mode: None, ``"rgb_array"`` (an image ``[480, 480, 3]``; needs the extra ``plot``) or
            ``"ansi"`` (text): the landscape where d is 1 or 2, parallel coordinates beyond, with
            the queries in order and the incumbent.

    Example:
        >>> import gymnasium, bbo_envs
        >>> env = gymnasium.make("BBO-Branin-2d-v0", budget=10)
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        >>> sorted(info)
        ['best_x', 'best_y', 'clock', 't', 'x_native']
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012 (Gymnasium's)

    def __init__(self, problem: Problem, render_mode: str | None = None) -> None:
        self.render_mode = check_render_mode(render_mode)
        self.problem = problem
        self._seeds: EnvironmentSeeds | None = None
        self._episode = Episode()
        self.action_space = problem.space
        self.observation_space = observation_space(problem.functions.dim)
        self._state: ProblemState | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draws a new function; the same one whenever the seed is the same.

        Seeds below 2**31, or none, are for training, others for evaluation: see ``bbo_envs.seeds``.
        """
        super().reset(seed=seed)
        if seed is not None or self._seeds is None:
            self._seeds = EnvironmentSeeds(self.np_random, seed)
        self._state, observation = self.problem.reset(1, self._seeds.next())
        self._episode = Episode()
        return _rows(_to_numpy(observation))[0], _first_row(_info(self._state))

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Evaluates one query; see ``Problem.step`` for the errors, which leave the state as is.

        Raises:
            ResetNeeded: Before the first reset, and after the end of the episode.
            QueryError: If the action is not a point of the unit cube of the right shape.
            ObjectiveError: If the objective raises, or returns NaN or infinity.
        """
        if self._state is None:
            raise ResetNeeded(_NOT_RESET)
        queries = _queries(action, self.action_space.shape).unsqueeze(0)
        with torch.no_grad():
            before = self._state.function
            native = self.problem.functions.native(before, queries)
            self._state, observation, step = self.problem.step(self._state, queries)
        if self.render_mode is not None:
            self._episode.add(self.problem.functions, before, queries, (observation, *step.late))
        info = _info(self._state) | {"x_native": native.numpy().copy()}
        row = _rows(_to_numpy(observation))[0]
        return row, step.reward.item(), step.done, False, _first_row(info)

    def render(self) -> Any:
        """Draws the episode so far in the render mode; see the class.

        Raises:
            ResetNeeded: Before the first reset.
        """
        return _render(self.problem, self.render_mode, self._state, self._episode, rows=1)[0]


class BlackBoxVectorEnv(VectorEnv[Observation, NDArray[Any], NDArray[Any]]):
    """Many copies of a task, computed as one batch.

    Row i is the scalar environment seeded with ``seed + i``, through autoreset, which is of the
    SAME_STEP kind: the step that ends the episodes returns the first observation of the next ones,
    and the last one in ``info["final_obs"]`` (with ``info["final_info"]``).

    Args:
        num_envs: The number of rows.
        problem: The task, which should be in float64 on the CPU.
        render_mode: As for ``BlackBoxEnv``; ``render`` returns a tuple of one picture per row.

    Example:
        >>> import gymnasium, bbo_envs
        >>> envs = gymnasium.make_vec("BBO-GP-6d-v0", num_envs=32)
        >>> observation, info = envs.reset(seed=0)
        >>> observation, reward, *_ = envs.step(envs.action_space.sample())
        >>> reward.shape
        (32,)
    """

    metadata = {  # noqa: RUF012
        "render_modes": list(RENDER_MODES),
        "render_fps": 4,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(self, num_envs: int, problem: Problem, render_mode: str | None = None) -> None:
        self.render_mode = check_render_mode(render_mode)
        self.num_envs = num_envs = positive_integer("num_envs", num_envs)
        self.problem = problem
        self.single_action_space = problem.space
        self.single_observation_space = observation_space(problem.functions.dim)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._rows: Sequence[EnvironmentSeeds | None] = []
        self._episode = Episode()
        self._state: ProblemState | None = None

    def reset(
        self,
        *,
        seed: SupportsIndex | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observation, dict[str, Any]]:
        """Draws a new function for every row.

        Args:
            seed: An integer seeds row i with ``seed + i``; a list gives each row its own; None
                goes on with the generators that the rows have.
            options: Not used.
        """
        if seed is None or isinstance(seed, SupportsIndex):
            first = None if seed is None else int(seed)
            seeds = [None if first is None else first + row for row in range(self.num_envs)]
        else:
            seeds = [None if row_seed is None else int(row_seed) for row_seed in seed]
        if len(seeds) != self.num_envs:
            raise ValueError(
                f"seed must be an integer or a list of {self.num_envs} (one for each row), "
                f"got {len(seeds)}"
            )
        old = self._rows or [None] * self.num_envs
        self._rows = [
            EnvironmentSeeds(seeding.np_random(row_seed)[0], row_seed)
            if row is None or row_seed is not None
            else row
            for row, row_seed in zip(old, seeds, strict=True)
        ]
        self._state, observation = self._draw()
        return observation, self._with_masks(_info(self._state))

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Observation, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Evaluates one query per row; errors are those of the scalar environment."""
        if self._state is None:
            raise ResetNeeded(_NOT_RESET)
        queries = _queries(actions, self.action_space.shape)
        with torch.no_grad():
            before = self._state.function
            native = self.problem.functions.native(before, queries)
            self._state, result, step = self.problem.step(self._state, queries)
        if self.render_mode is not None:
            self._episode.add(self.problem.functions, before, queries, (result, *step.late))
        observation = _to_numpy(result)
        info = self._with_masks(_info(self._state) | {"x_native": native.numpy().copy()})
        if step.done:
            final = np.empty(self.num_envs, dtype=object)
            final[:] = _rows(observation)
            self._state, observation = self._draw()
            info = self._with_masks(_info(self._state) | {"final_obs": final, "final_info": info})
        done = np.full(self.num_envs, step.done)
        return observation, step.reward.double().numpy(), done, np.zeros_like(done), info

    def render(self) -> tuple[Any, ...]:
        """Draws every row's episode so far.

        The step that ends the episodes has begun the next ones, so that a finished episode is
        drawn by the scalar environment only.

        Raises:
            ResetNeeded: Before the first reset.
        """
        return _render(self.problem, self.render_mode, self._state, self._episode, self.num_envs)

    def _draw(self) -> tuple[ProblemState, Observation]:
        state, observation = self.problem.reset_rows([row.next() for row in self._rows if row])
        self._episode = Episode()
        return state, _to_numpy(observation)

    def _with_masks(self, info: dict[str, Any]) -> dict[str, Any]:
        """Pairs every key with Gymnasium's mask of the rows that have it: all of them."""
        info = info | {"t": np.full(self.num_envs, info["t"])}
        return info | {f"_{key}": np.ones(self.num_envs, dtype=np.bool_) for key in info}


def _render(
    problem: Problem, mode: str | None, state: ProblemState | None, episode: Episode, rows: int
) -> tuple[Any, ...]:
    """A picture of each row; None where there is no render mode."""
    if state is None:
        raise ResetNeeded("call reset() before render()")
    if mode is None:
        return (None,) * rows
    scenes = (episode.scene(problem.functions, state.function, row) for row in range(rows))
    return tuple(render(mode, scene) for scene in scenes)


def _queries(action: ArrayLike, shape: tuple[int, ...] | None) -> Tensor:
    """Checks an action's shape and type; its range is the problem's to check."""
    try:
        queries = np.array(action, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise QueryError(
            f"an action must be an array of numbers of shape {shape}, got {action!r}"
        ) from error
    if queries.shape != shape:
        raise QueryError(f"an action must have shape {shape}, got {queries.shape}: {action!r}")
    return torch.from_numpy(queries)


def _to_numpy(observation: Observation) -> Observation:
    """As float32; a finite y beyond its range becomes the largest number in it."""
    largest = torch.finfo(torch.float32).max
    return Observation(*(part.clamp(-largest, largest).float().numpy() for part in observation))


def _rows(observation: Observation) -> list[Observation]:
    return [Observation(*map(np.asarray, row)) for row in zip(*observation, strict=True)]


def _info(state: ProblemState) -> dict[str, Any]:
    """What the environments tell beside the observation, batch first."""
    info: dict[str, Any] = {"t": state.t, "clock": state.clock.double().numpy().copy()}
    if not state.best_y.isinf().any():
        best_y = state.best_y.double().numpy().copy()
        info |= {"best_x": state.best_x.numpy().copy(), "best_y": best_y}
    return info


def _first_row(info: dict[str, Any]) -> dict[str, Any]:
    first = {key: value if key == "t" else value[0] for key, value in info.items()}
    return {
        key: value if np.ndim(value) or key == "t" else float(value) for key, value in first.items()
    }
