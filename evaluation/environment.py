"""What a run of a benchmark is made with, so that it can be made again."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = (
    "bbo-envs",
    "torch",
    "numpy",
    "scipy",
    "gymnasium",
    "botorch",
    "gpytorch",
    "pyro-ppl",
    "optuna",
    "hyperopt",
    "nevergrad",
    "smac",
    "cma",
    "evosax",
    "jax",
    "stable-baselines3",
    "sb3-contrib",
)


def environment() -> dict[str, Any]:
    """The interpreter, the machine, and the versions of what computes (None: not installed).

    Example:
        >>> environment()["versions"]["torch"] is not None
        True
    """
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "package": _version("bbo-envs"),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:  # what Linux calls it; elsewhere Python knows more
        with open("/proc/cpuinfo") as lines:
            names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor()
