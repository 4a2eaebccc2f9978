"""``python -m training``: what ``bbo train`` does, for torchrun to start in several processes."""

import sys
from collections.abc import Sequence

import tyro

from training.command import one_line_errors, train_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with one_line_errors("training"):
        tyro.cli(train_command(arguments), prog="python -m training", args=arguments)


if __name__ == "__main__":
    main()
