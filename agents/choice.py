"""Which network for which space, budget and number of workers: the scores on the cards decide."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.pretrained import card, is_sb3, trained_names
from agents.spaces import as_space
from bbo_envs import make_problem
from bbo_envs.checks import positive_integer

if TYPE_CHECKING:
    from agents.spaces import Spacelike

AUTOMATIC = "auto"

_FUNCTIONS = "BBO-GP"
# Evaluations up to which a network is used that conditions a Gaussian process on all of them.
_MOST_CONDITIONED = 2000


@dataclass(frozen=True)
class Candidate:
    """A network that may be used, and what its card says.

    Attributes:
        name: Its name.
        best: The mean best value that it finds on held-out functions; lower is better.
        half_width: Of the 95 % interval of that.
        milliseconds: What a proposal takes, on the machine that wrote the card.
    """

    name: str
    best: float
    half_width: float
    milliseconds: float

    def __str__(self) -> str:
        figures = f"{self.best:.2f} ± {self.half_width:.2f}, {self.milliseconds:.2g} ms a proposal"
        return f"{self.name} ({figures})"


@dataclass(frozen=True)
class Recommendation:
    """A network, and why.

    Attributes:
        agent: Its name, as ``minimize`` and ``AskTell`` take it.
        reason: Why, in words.
        candidates: All that may be used, the best first.
    """

    agent: str
    reason: str
    candidates: tuple[Candidate, ...]

    def __str__(self) -> str:
        return f"{self.agent}: {self.reason}"


def recommend(space: "Spacelike", budget: int = 100, workers: int = 1) -> Recommendation:
    """Chooses among the networks that ship; ``agent="auto"`` stands for the one that it chooses.

    Cards hold scores on samples of Gaussian processes that no training has seen: in several numbers
    of dimensions, for several budgets, with one worker and with five. Networks are compared by
    those scores that all of them have and that are nearest to what is asked for. Of the best and
    those within the 95 % interval of its score, the one is taken that proposes fastest.

    Networks that were trained on other functions, or need an extra, are left out, and so is
    ``posterior-guided`` beyond 2,000 evaluations, where its proposals take long. Scores are of the
    networks themselves, without the restarts that ``AskTell`` makes beyond their horizons.

    Args:
        space: As for ``AskTell``.
        budget: How many evaluations there will be.
        workers: How many at a time.

    Raises:
        ValueError: If the space is malformed, or a number not positive.

    Example:
        >>> found = recommend({"lr": (1e-5, 1e-1, "log"), "layers": (1, 8)}, budget=50, workers=4)
        >>> found.agent in [candidate.name for candidate in found.candidates]
        True
    """
    dim = as_space(space).dim
    positive_integer("budget", budget)
    several = positive_integer("workers", workers) > 1
    names = [name for name in trained_names() if _fits(name, dim, budget)]
    scored = {name: _scores(name, several) for name in names}
    # Those for any number of dimensions always fit, and others are compared with them.
    wide = [scores for name, scores in scored.items() if _dim(name) is None and scores]
    scored_dim = _nearest(dim, wide)
    at = {name: scores[scored_dim] for name, scores in scored.items() if scored_dim in scores}
    t = _nearest(budget, list(at.values()))
    candidates = sorted(
        (
            Candidate(name, own[t]["mean"], own[t]["ci95"], card(name)["ms_per_proposal"])
            for name, own in at.items()
        ),
        key=lambda candidate: candidate.best,
    )
    first = candidates[0]
    level = [other for other in candidates if other.best <= first.best + first.half_width]
    chosen = min(level, key=lambda candidate: candidate.milliseconds)
    reason = (
        f"on samples of Gaussian processes, d = {scored_dim}, after {t} evaluations"
        f"{' by five workers' if several else ''}, {_why(chosen, candidates, level)}"
    )
    return Recommendation(chosen.name, reason, tuple(candidates))


def automatic(agent: Any, space: "Spacelike", budget: int, workers: int = 1) -> Any:
    """The agent as it is, or the name of what is recommended if it is ``"auto"``."""
    # An agent that is an object may compare in ways of its own.
    chosen = isinstance(agent, str) and agent == AUTOMATIC
    return recommend(space, budget, workers).agent if chosen else agent


def _fits(name: str, dim: int, budget: int) -> bool:
    """Whether a network was trained on such functions, needs no extra, and endures the budget."""
    facts = card(name)
    of_gp = facts["score"]["task"].startswith(_FUNCTIONS)
    conditions = facts["architecture"].get("kind") == "posterior-guided"
    endures = not conditions or budget <= _MOST_CONDITIONED
    return of_gp and endures and not is_sb3(name) and _dim(name) in (None, dim)


def _dim(name: str) -> int | None:
    """The one number of dimensions that a network was trained for; None if it is any."""
    facts = card(name)
    if "dim" in facts["training"]["config"].get("mixture", {}):
        return None
    return _dim_of(facts["score"])


def _dim_of(score: Mapping[str, Any]) -> int:
    return make_problem(score["task"], **score["arguments"]).functions.dim


def _scores(name: str, several: bool) -> dict[int, dict[int, dict[str, float]]]:
    """By dimension and budget, the mean best on samples of Gaussian processes, from the card."""
    facts = card(name)
    found: dict[int, dict[int, dict[str, float]]] = {}
    for entry in (facts["score"], *facts.get("scores", [])):
        arguments = entry["arguments"]
        if (arguments.get("workers", 1) > 1) == several:
            dim = _dim_of(entry)
            own = {int(t): figure for t, figure in entry["best_at_own_budget"].items()}
            found[dim] = own | found.get(dim, {})
    return found


def _nearest(wanted: int, scores: Sequence[Mapping[int, Any]]) -> int:
    """The number nearest to the one wanted, by ratio, that all of several mappings have."""
    shared: set[int] = set.intersection(*(set(own) for own in scores))
    return min(shared, key=lambda number: (abs(math.log(number) - math.log(wanted)), number))


def _why(chosen: Candidate, candidates: list[Candidate], level: list[Candidate]) -> str:
    first = candidates[0]
    if chosen is not first:
        return f"{chosen} is level with the best, {first}, and proposes faster"
    if len(level) > 1:
        return f"{chosen} is the best, and proposes faster than what is level with it"
    if len(candidates) == 1:
        return f"{chosen} is the only one"
    return f"{chosen} is ahead of all others; the next is {candidates[1]}"
