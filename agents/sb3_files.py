"""Policies of Stable-Baselines3 from files, none of which is unpickled.

Stable-Baselines3 saves a model as a zip that holds pickles, and unpickling runs whatever code a
file holds. Here a policy is built anew from what the zip also tells as JSON, and its weights are
read by PyTorch's reader of bare tensors. An export has no pickles at all: safetensors and a card.
"""

import hashlib
import io
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as pack_tensors
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.save_util import is_json_serializable
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor
from torch.nn.modules import activation

from agents.flat import flat_spaces
from agents.pretrained import WeightsError, card

# The policies of PPO and A2C, of RecurrentPPO, of SAC, and of TD3 and DDPG.
POLICIES: dict[str, type[BasePolicy]] = {
    policy.__name__: policy
    for policy in (ActorCriticPolicy, RecurrentActorCriticPolicy, SACPolicy, TD3Policy)
}

# Only training asks for these.
_OF_TRAINING = {"optimizer_class", "optimizer_kwargs", ":type:", ":serialized:"}


class _Recipe(NamedTuple):
    """What a policy is built from: a name in ``POLICIES``, d, and arguments that JSON holds."""

    policy: str
    dim: int
    arguments: dict[str, Any]


def read_policy(path: Path) -> BasePolicy:
    """Reads the policy that ``model.save`` or ``write_export`` wrote; see ``agents.from_sb3``.

    Raises:
        WeightsError: If the file is missing, damaged, holds anything else, or cannot be rebuilt
            without unpickling.
    """
    if not path.exists() and not Path(f"{path}.zip").exists():
        raise WeightsError(f"the model {path} cannot be read (No such file); correct the path")
    try:
        recipe, weights = _exported(path) if path.suffix == ".safetensors" else _zipped(path)
        policy = _build(recipe)
        policy.load_state_dict(weights)
    except WeightsError:
        raise
    except Exception as error:  # of the readers of zips, JSON and tensors, or of the policy
        raise WeightsError(
            f"{path} cannot be read as a model of Stable-Baselines3 ({type(error).__name__}: "
            f"{error}); save it again by model.save(path) or agents.export_sb3(model, path)"
        ) from error
    return policy.requires_grad_(False)


def write_export(
    path: Path,
    policy: BasePolicy,
    policy_kwargs: Mapping[str, Any],
    use_sde: bool,
    told: Mapping[str, Any],
) -> None:
    """Writes a policy as safetensors, with a JSON card beside it; see ``agents.export_sb3``.

    Args:
        path: Where; it ends in ``.safetensors``.
        policy: Of one of ``POLICIES``, on the spaces of ``agents.flat``.
        policy_kwargs: What its model was told to make it with.
        use_sde: Whether it explores by state-dependent noise (gSDE).
        told: What else the card says.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"the path must end in .safetensors, got {path}")
    kind, (dim,) = type(policy), policy.action_space.shape or ()
    arguments = {k: v if is_json_serializable(v) else str(v) for k, v in policy_kwargs.items()}
    recipe = _recipe("this model", kind.__module__, kind.__name__, dim, arguments, use_sde)
    data = pack_tensors({k: v.cpu().contiguous() for k, v in policy.state_dict().items()})
    architecture = {"kind": "sb3", **recipe._asdict()}
    facts = {"architecture": architecture, "sha256": hashlib.sha256(data).hexdigest(), **told}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")


def _exported(path: Path) -> tuple[_Recipe, dict[str, Tensor]]:
    facts = card(path)
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != facts["sha256"]:
        raise ValueError(f"its SHA-256 is {found}, its card says {facts['sha256']}")
    architecture = dict(facts["architecture"])
    kind = architecture.pop("kind", None)
    if kind != "sb3":
        raise ValueError(f"its card tells of a network of the kind {kind!r}; use agents.load")
    return _Recipe(**architecture), parse_tensors(data)


def _zipped(path: Path) -> tuple[_Recipe, dict[str, Tensor]]:
    # The library adds the suffix when it saves and when it loads.
    with zipfile.ZipFile(path if path.exists() else Path(f"{path}.zip")) as archive:
        facts = json.loads(archive.read("data"))
        weights = read_tensors(archive, "policy.pth")
    (dim,) = facts["action_space"]["_shape"]
    for key, space in zip(("observation_space", "action_space"), flat_spaces(dim), strict=True):
        told = facts[key]
        if told["_shape"] != [*space.shape] or told["low"].split() != str(space.low).split():
            raise ValueError(f"its {key} is not {space}; train on training.sb3_env.SB3VecEnv")
    # Of classes the JSON tells their attributes: among these the module and the constructor.
    kind = facts["policy_class"]
    name = re.match(r"<function (\w+)\.__init__ at", kind.get("__init__", ""))
    recipe = _recipe(
        str(path),
        kind["__module__"],
        name[1] if name else "",
        dim,
        facts["policy_kwargs"],
        facts["use_sde"],
    )
    return recipe, weights


def read_tensors(archive: zipfile.ZipFile, name: str) -> Any:
    """Reads tensors, and what of numbers and names is around them, from a model's zip.

    Raises:
        ValueError: If the part is damaged, or would have to be unpickled.
    """
    try:
        return torch.load(io.BytesIO(archive.read(name)), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its message advises to unpickle all the same
        raise ValueError(f"its {name} is damaged, or holds more than tensors") from error


def _recipe(
    source: str, module: str, name: str, dim: int, told: Mapping[str, Any], use_sde: bool
) -> _Recipe:
    """What JSON tells of a policy, if that is all there is to it.

    Args:
        source: What an error names.
        module: Of the policy's class.
        name: Of the policy's class.
        dim: The number of coordinates.
        told: Its arguments; those that JSON cannot hold are replaced by what ``str`` says of them.
        use_sde: As for ``write_export``.
    """
    if name not in POLICIES or POLICIES[name].__module__ != module:
        raise _unknown(source, " ".join(["a policy class of", module, name]).strip())
    arguments = {k: v for k, v in told.items() if k not in _OF_TRAINING}
    if name != "TD3Policy":
        arguments["use_sde"] = use_sde
    layer = re.fullmatch(
        r"<class 'torch\.nn\.modules\.activation\.(\w+)'>", str(arguments.get("activation_fn"))
    )
    if layer:
        arguments["activation_fn"] = layer[1]
    for key, value in arguments.items():
        if isinstance(value, str) and not (key == "activation_fn" and layer):
            raise _unknown(source, f"policy_kwargs[{key!r}] = {value}")
    return _Recipe(name, dim, arguments)


def _build(recipe: _Recipe) -> BasePolicy:
    arguments = dict(recipe.arguments)
    if "activation_fn" in arguments:
        # The module's own classes only, and none of what it imports.
        if arguments["activation_fn"] not in activation.__all__:
            raise ValueError(f"torch.nn has no activation {arguments['activation_fn']!r}")
        arguments["activation_fn"] = getattr(activation, arguments["activation_fn"])
    # Weights are drawn, by PyTorch's global generator, only to be overwritten.
    with torch.random.fork_rng(devices=[]):
        return POLICIES[recipe.policy](
            *flat_spaces(recipe.dim), lr_schedule=lambda _: 0.0, **arguments
        )


def _unknown(source: str, part: str) -> WeightsError:
    return WeightsError(
        f"{source} was made with {part}, which cannot be told without unpickling, and that runs "
        "whatever code a file holds; if you trust it, load it by its own class, "
        "model = PPO.load(path), and pass the model to agents.from_sb3"
    )
