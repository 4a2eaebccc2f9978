"""Models trained with Stable-Baselines3 as optimisers; ``training.sb3_env`` is the other half."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from gymnasium.spaces import Box
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from agents.features import History, asked, empty_history
from agents.flat import action_to_query, flat_observation, flat_spaces
from agents.pretrained import card
from agents.sb3_files import POLICIES, read_policy, write_export
from bbo_envs.core import Observation


class SB3State(NamedTuple):
    """State of an ``SB3Agent``; all its tensors are batch first.

    Attributes:
        history: Running statistics of the evaluations.
        memory: h and c of a recurrent policy, each ``[B, layers, hidden]``; else empty.
        generator: The source of random actions; None where the policy's mean is played.
    """

    history: History
    memory: tuple[Tensor, ...]
    generator: torch.Generator | None


class SB3Agent(nn.Module):
    """A policy of Stable-Baselines3 as an optimiser.

    Args:
        policy: Of one of ``POLICIES``, trained on observations and actions as in ``agents.flat``.
        deterministic: Play the mean of the policy's distribution of actions, as ``predict`` of
            Stable-Baselines3 does when told so; else draw from it. TD3 has no distribution and
            always plays its one action.

    Raises:
        TypeError: If it is another kind of policy.
        ValueError: If it was trained on other observations or actions.

    Attributes:
        dim: The number of coordinates it proposes.
        policy: The policy.
    """

    def __init__(self, policy: BasePolicy, deterministic: bool = True) -> None:
        super().__init__()
        if not isinstance(policy, tuple(POLICIES.values())):
            raise TypeError(
                f"a {type(policy).__name__} cannot be played; expected one of {', '.join(POLICIES)}"
            )
        self.dim, *_ = policy.action_space.shape or (0,)
        spaces = policy.observation_space, policy.action_space
        if spaces != flat_spaces(self.dim):
            raise ValueError(
                f"this model was trained on {spaces[0]} and {spaces[1]}, which are not those of "
                "agents.flat; train it on training.sb3_env.SB3VecEnv"
            )
        self.policy = policy
        self.deterministic = deterministic

    def init(self, batch: int, space: Box, budget: int, generator: torch.Generator) -> SB3State:
        """The state before the first query.

        Raises:
            ValueError: If the space has another number of dimensions than the policy.
        """
        if space.shape != (self.dim,):
            raise ValueError(
                f"this model proposes in {self.dim} dimensions, the task has shape {space.shape}; "
                "pass a model trained for that number of dimensions"
            )
        device = self.policy.device
        memory: tuple[Tensor, ...] = ()
        if isinstance(self.policy, RecurrentActorCriticPolicy):
            layers, _, hidden = self.policy.lstm_hidden_state_shape
            memory = (torch.zeros(batch, layers, hidden, device=device),) * 2
        history = empty_history(batch, self.dim, budget, torch.float32, device)
        return SB3State(history, memory, None if self.deterministic else generator)

    @torch.no_grad()
    def step(self, state: SB3State, observation: Observation) -> tuple[Tensor, SB3State]:
        """The next query ``[B, d]``, in float32."""
        self.policy.set_training_mode(False)  # it may have been trained on since the last step
        told = Observation(*(part.to(self.policy.device) for part in observation))
        features, history = flat_observation(state.history, told)
        action, memory = self._act(features, state._replace(history=history))
        x = action_to_query(action.clamp(-1.0, 1.0), history.best_x)
        return x, SB3State(history, memory, state.generator)

    def asked(self, state: SB3State, x: Tensor | None) -> SB3State:
        """The state where another query was made than the one proposed, or none."""
        return state._replace(history=asked(state.history, x))

    def announced(self, state: SB3State, x: Tensor) -> SB3State:
        """The state where somebody else made a query too: the same, until it comes back."""
        return state

    def _act(self, features: Tensor, state: SB3State) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The policy's own actions, before they are clipped, and its memory."""
        policy, memory = self.policy, state.memory
        if isinstance(policy, TD3Policy):
            return policy.actor(features), memory
        found: Any
        if isinstance(policy, SACPolicy):
            mean, log_std, more = policy.actor.get_action_dist_params(features)
            found = policy.actor.action_dist.proba_distribution(mean, log_std, **more)
        elif isinstance(policy, RecurrentActorCriticPolicy):
            hidden, cell = (part.transpose(0, 1).contiguous() for part in memory)
            first = torch.full_like(features[:, 0], float(state.history.steps == 1))
            found, after = policy.get_distribution(features, (hidden, cell), first)
            memory = tuple(part.transpose(0, 1) for part in after)
        else:
            assert isinstance(policy, ActorCriticPolicy)  # the one kind that is left
            found = policy.get_distribution(features)
        if state.generator is None:
            return found.mode(), memory
        # The library's own draws are from PyTorch's global generator.
        normal = found.distribution
        noise = torch.empty(normal.mean.shape, device=state.generator.device)
        noise = noise.normal_(generator=state.generator).to(features)
        action = normal.mean + normal.stddev * noise
        return action.tanh() if policy.squash_output else action, memory


def from_sb3(source: BaseAlgorithm | str | Path, *, deterministic: bool | None = None) -> SB3Agent:
    """A model trained with Stable-Baselines3 on ``training.sb3_env.SB3VecEnv``, as an optimiser.

    Args:
        source: A model of PPO, A2C, SAC, TD3, DDPG, or of RecurrentPPO of sb3-contrib, whose
            policy is shared and not copied; the path of a zip that ``model.save`` wrote; or that
            of a ``.safetensors`` file that ``export_sb3`` wrote. Nothing is unpickled, so that a
            zip of a policy with parts of one's own must be loaded by its own class first. A file
            does not tell whether ``VecNormalize`` changed the observations; it must not have.
        deterministic: Play the policy's mean; else draw actions by the generator of the run. A
            policy without memory that plays its mean stays where it is once it repeats a query.
            Defaults to what ``export_sb3`` was told, and to True elsewhere.

    Raises:
        WeightsError: If the file is missing, damaged, holds anything else, or cannot be rebuilt
            without unpickling.
        TypeError: If the model's policy is of another kind.
        ValueError: If the model was trained on other observations or actions.

    Example:
        >>> import gymnasium
        >>> from stable_baselines3 import PPO
        >>> from training.sb3_env import SB3VecEnv
        >>> envs = SB3VecEnv(gymnasium.make_vec("BBO-GP-2d-v0", num_envs=2))
        >>> agent = from_sb3(PPO("MlpPolicy", envs, n_steps=8, batch_size=16, device="cpu"))
        >>> state = agent.init(3, Box(0, 1, (2,)), 10, torch.Generator())
        >>> x, state = agent.step(state, Observation(torch.zeros(3, 2), *torch.zeros(2, 3)))
        >>> x.shape
        torch.Size([3, 2])
    """
    if isinstance(source, BaseAlgorithm):
        normalised = source.get_vec_normalize_env()
        if normalised is not None and normalised.norm_obs:
            raise ValueError(
                "this model was trained on observations that VecNormalize normalises once more, "
                "which an optimiser does not carry; train with VecNormalize(norm_obs=False)"
            )
        return SB3Agent(source.policy, deterministic is not False)
    path = Path(source)
    policy = read_policy(path)
    if deterministic is None:
        deterministic = path.suffix != ".safetensors" or card(path).get("deterministic", True)
    return SB3Agent(policy, deterministic)


def export_sb3(model: BaseAlgorithm, path: str | Path, *, deterministic: bool = True) -> None:
    """Writes a model's policy as safetensors, with a JSON card beside it, for ``from_sb3``.

    Args:
        model: As for ``from_sb3``.
        path: Where; it ends in ``.safetensors``.
        deterministic: How ``from_sb3`` is to play it when it is not told.

    Raises:
        ValueError: If the path ends otherwise, or the model was trained on other observations.
        TypeError: If the model's policy is of another kind.
        WeightsError: If the policy has parts that a card cannot tell of.

    Example:
        >>> import gymnasium, tempfile
        >>> from stable_baselines3 import PPO
        >>> from training.sb3_env import SB3VecEnv
        >>> envs = SB3VecEnv(gymnasium.make_vec("BBO-GP-2d-v0", num_envs=2))
        >>> model = PPO("MlpPolicy", envs, n_steps=8, batch_size=16, device="cpu")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_sb3(model, f"{folder}/mine.safetensors")
        ...     from_sb3(f"{folder}/mine.safetensors").dim
        2
    """
    told = {"deterministic": deterministic}
    write_export(Path(path), from_sb3(model).policy, model.policy_kwargs, model.use_sde, told)
