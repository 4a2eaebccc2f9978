"""A learned acquisition function: which of several proposals to query."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from agents.features import (
    CANDIDATE_FEATURES,
    FORGOTTEN,
    PAIR_FEATURES,
    Known,
    candidate_features,
)
from agents.recurrent import linear_of_both

_HEADS = 8
_WIDTH = 16
_HIDDEN = 48


class Proposals(NamedTuple):
    """Points to choose from, and how likely each is chosen.

    Attributes:
        x: ``[B, P, d]``.
        log_weight: ``[B, P]`` the logarithms of their probabilities.
    """

    x: Tensor
    log_weight: Tensor


class Acquisition(nn.Module):
    """Weighs candidates by what has been evaluated, as an acquisition function does.

    Attention heads look from each candidate at all evaluations: each smooths their values by
    weights that fall with the distance, in a way that is learned and depends on the recurrent state
    (Nadaraya-Watson regression with several learned kernels), and measures how much there is
    nearby. A small network turns this, the distances to the nearest query and to the incumbent, and
    the angles to the directions that the network follows, into a score. There is no matrix to
    invert.

    Args:
        hidden: Width of the recurrent state.
        directions: How many directions the network follows.

    Example:
        >>> Acquisition(hidden=8, directions=3).score.out_features
        1
    """

    def __init__(self, hidden: int, directions: int) -> None:
        super().__init__()
        self.attend = nn.Linear(hidden + PAIR_FEATURES, _WIDTH)
        self.weigh = nn.Linear(_WIDTH, _HEADS)
        self.mix = nn.Linear(hidden + 2 * _HEADS + CANDIDATE_FEATURES + directions, _HIDDEN)
        self.score = nn.Linear(_HIDDEN, 1)

    def forward(self, state: Tensor, known: Known, candidates: Tensor) -> Tensor:
        """The logarithms ``[B, P]`` of the probabilities with which candidates are to be chosen.

        Args:
            state: ``[B, hidden]`` the recurrent state.
            known: What has been evaluated and asked for.
            candidates: ``[B, P, d]``.
        """
        seen = candidate_features(known, candidates)
        logits = self.weigh(linear_of_both(self.attend, state, seen.pairs).tanh())
        # Before training, weights fall with the square of the distance.
        logits = logits - 2.0 * seen.log_distance.unsqueeze(-1)
        logits = logits.masked_fill(~seen.back[:, None, :, None], FORGOTTEN)
        smoothed = (logits.softmax(2) * seen.z[:, None, :, None]).sum(2)
        density = logits.logsumexp(2).clamp_min(-20.0) / 5.0
        features = torch.cat([smoothed, density, seen.own], -1)
        mixed = linear_of_both(self.mix, state, features).tanh()
        log_weight: Tensor = self.score(mixed).squeeze(-1).log_softmax(-1)
        return log_weight


def choose(proposals: Proposals, uniform: Tensor) -> Tensor:
    """Chooses a proposal in each row ``[B, d]``, with the probabilities that they have.

    By the Gumbel-max trick (Maddison, Tarlow & Minka 2014).

    Args:
        proposals: What there is to choose from.
        uniform: ``[B, P]`` uniform random numbers in (0, 1).

    Example:
        >>> proposals = Proposals(torch.tensor([[[0.1], [0.9]]]), torch.tensor([[0.5, 0.5]]).log())
        >>> choose(proposals, torch.tensor([[0.3, 0.8]]))
        tensor([[0.9000]])
    """
    index = (proposals.log_weight.detach() - (-uniform.log()).log()).argmax(-1)
    return proposals.x.gather(1, index[:, None, None].expand(-1, 1, proposals.x.shape[-1])).squeeze(
        1
    )
