"""A small residual network (He et al. 2016) on scikit-learn's digits: six hyper-parameters.

Chen et al. 2017 tune a residual network on CIFAR-100; the axes here are *inferred*, as the paper
does not list its six.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn

from bbo_envs.hpo.build.recipe import Recipe

LEVELS = {
    "learning_rate": (0.003, 0.01, 0.03, 0.1),
    "momentum": (0.0, 0.5, 0.9, 0.98),
    "weight_decay": (1e-5, 1e-4, 1e-3, 1e-2),
    "batch_size": (16, 32, 64, 128),
    "width": (4, 6, 8, 12),
    "blocks": (1, 2, 3, 4),
}
_TRAINED, _VALIDATED, _EPOCHS = 897, 450, 6


class Block(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))): a pre-activation block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[B, width, 8, 8]`` -> the same shape."""
        step: Tensor = self.body(x)
        return x + step


@cache
def data() -> tuple[tuple[Tensor, Tensor], ...]:
    """Images ``[n, 1, 8, 8]`` of pixels in [0, 1], and labels: train, validation, test."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    pixels = torch.tensor(images.reshape(-1, 1, 8, 8) / 16.0, dtype=torch.float32)
    targets = torch.tensor(labels)
    return tuple(
        (pixels[part], targets[part]) for part in np.split(order, [_TRAINED, _TRAINED + _VALIDATED])
    )


def run(unit: tuple[int, ...]) -> NDArray[np.float64]:
    """Trains one cell and returns its errors on held-out digits."""
    rate, momentum, decay, batch, width, blocks = RECIPE.values(unit)
    train, *held_out = data()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    output = nn.Linear(4 * width, 10)
    network = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        *(Block(width) for _ in range(blocks)),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        output,
    )
    for parameter in network.parameters():
        if parameter.dim() > 1:  # norms keep their ones and zeros
            nn.init.kaiming_normal_(parameter, generator=generator)
    nn.init.zeros_(output.bias)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=rate, momentum=momentum, weight_decay=decay
    )
    for _ in range(_EPOCHS):
        order = torch.randperm(_TRAINED, generator=generator)
        for start in range(0, _TRAINED, batch):
            rows = order[start : start + batch]
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(network(train[0][rows]), train[1][rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    network.eval()
    with torch.no_grad():
        return np.array([(network(x).argmax(1) != y).double().mean().item() for x, y in held_out])


RECIPE = Recipe(
    name="resnet",
    levels=LEVELS,
    metrics=("valid_error", "test_error"),
    leading=6,
    run=run,
    about=(
        f"A pre-activation residual network with batch normalisation, trained for {_EPOCHS} epochs "
        "by SGD with momentum on scikit-learn's 1,797 digits (8 x 8 pixels): 897 to train, 450 to "
        "validate, 450 to test. Split by NumPy's generator, weights and order by PyTorch's, all "
        "with seed 0; float32, one thread"
    ),
    source="Our own, after Chen et al. 2017, section 3.4",
    packages=("torch", "scikit-learn", "numpy"),
)
