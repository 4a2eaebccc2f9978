"""What tests share."""

import pytest
import torch

pytest_plugins = ["catalogue", "sb3_models"]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)
