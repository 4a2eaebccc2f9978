"""The tasks for Stable-Baselines3: its VecEnv over the natively batched environments."""

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from agents.features import History, empty_history
from agents.flat import action_to_query, flat_observation, flat_spaces
from bbo_envs.core import Observation
from bbo_envs.env import BlackBoxVectorEnv


class SB3VecEnv(VecEnv):
    """A task as Stable-Baselines3 trains on it; ``agents.from_sb3`` plays what it learns.

    Observations are the vectors ``[2 d + 7]`` of ``agents.flat.flat_observation``, in which values
    are normalised within the episode; actions in [-1, 1]^d are steps from the incumbent
    (``agents.flat.action_to_query``). The end of the budget is a proper end of the episode: nothing
    is bootstrapped from beyond it. ``infos`` hold what the scalar environment tells.

    Do not normalise observations once more (``VecNormalize(norm_obs=False)`` is fine, to normalise
    rewards); wrap it in ``VecMonitor`` to have the returns of episodes logged.

    Args:
        envs: What ``gymnasium.make_vec`` returns for one of the package's ids, without wrappers:
            those of Stable-Baselines3 can be put around this one.

    Raises:
        TypeError: If it is another kind of environment.

    Example:
        >>> import bbo_envs
        >>> from stable_baselines3 import PPO
        >>> envs = SB3VecEnv(gymnasium.make_vec("BBO-GP-2d-v0", num_envs=4, budget=10))
        >>> model = PPO("MlpPolicy", envs, n_steps=10, batch_size=20, seed=0, device="cpu")
        >>> model.learn(40).num_timesteps
        40
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        if not isinstance(envs, BlackBoxVectorEnv):
            raise TypeError(
                "SB3VecEnv takes what gymnasium.make_vec(id, num_envs=...) returns for an id of "
                f"bbo_envs, without wrappers and without a vectorization_mode; got {envs!r}"
            )
        self.envs = envs
        self.budget = envs.problem.budget
        self.dim = envs.problem.functions.dim
        self._history: History | None = None
        self._actions: NDArray[Any] | None = None
        super().__init__(envs.num_envs, *flat_spaces(self.dim))

    def reset(self) -> NDArray[np.float32]:
        observation, info = self.envs.reset(seed=list(self._seeds))
        self._reset_seeds()
        self._reset_options()
        return self._begin(observation, info)

    def step_async(self, actions: NDArray[Any]) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        assert self._history is not None  # Stable-Baselines3 resets before the first step
        actions = torch.as_tensor(self._actions)
        queries = action_to_query(actions, self._history.best_x).numpy()
        observation, reward, done, _, info = self.envs.step(queries)
        if done.all():
            last = Observation(*(np.stack(part) for part in zip(*info["final_obs"], strict=True)))
            terminal = self._see(last)
            infos = self._rows(info["final_info"])
            for row, features in zip(infos, terminal, strict=True):
                row["terminal_observation"] = features
            shown = self._begin(observation, info)
        else:
            infos, shown = self._rows(info), self._see(observation)
        for row in infos:
            row["TimeLimit.truncated"] = False
        return shown, reward.astype(np.float32), done, infos

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds row i with ``seed + i`` at the next reset; without a seed rows go on as they are.

        Stable-Baselines3 would draw one among all 32 bits, half of which are for evaluation only
        (``bbo_envs.seeds``).
        """
        if seed is None:
            self._reset_seeds()
            return self._seeds
        return super().seed(seed)

    def close(self) -> None:
        self.envs.close()

    def get_images(self) -> Sequence[NDArray[Any] | None]:
        return self.envs.render()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute of the batch, once for each row: rows are no environments of their own."""
        return [getattr(self.envs, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        raise NotImplementedError(_ONE_BATCH.format(f"set {attr_name!r}"))

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        raise NotImplementedError(_ONE_BATCH.format(f"call {method_name!r}"))

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Any = None
    ) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def _begin(self, observation: Observation, info: dict[str, Any]) -> NDArray[np.float32]:
        """Shows the first observation of new episodes."""
        self._history = empty_history(
            self.num_envs, self.dim, self.budget, torch.float32, torch.device("cpu")
        )
        self.reset_infos = self._rows(info)
        return self._see(observation)

    def _see(self, observation: Iterable[NDArray[Any]]) -> NDArray[np.float32]:
        assert self._history is not None  # envs.step() raises before the first reset
        told = Observation(*map(torch.as_tensor, observation))
        features, self._history = flat_observation(self._history, told)
        shown: NDArray[np.float32] = features.numpy()
        return shown

    def _rows(self, info: dict[str, Any]) -> list[dict[str, Any]]:
        """Gymnasium's info of a batch as one of each row, without what is of the episode before."""
        told = {k: v for k, v in info.items() if not k.startswith(("_", "final_"))}
        return [{key: part[row] for key, part in told.items()} for row in range(self.num_envs)]


_ONE_BATCH = (
    "cannot {} in rows of SB3VecEnv, which are computed as one batch; "
    "give arguments of the task to gymnasium.make_vec instead"
)
