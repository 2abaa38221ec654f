"""Which of several candidates to believe, by how they did window after window; the latest count most."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from calibrant.policy.kept import fields_of, nonsense

DECAY = 0.7  # what a window counts for when the next one comes
_LARGEST = 2.0**20  # sum of scores, more than there will be


@dataclass(frozen=True)
class Contest:
    """By candidate, the weighted sum of its scores and the sum of the weights.

    Examples
    --------
    >>> contest = Contest().after({"as it is": 1.0, "affine": 2.0}).after({"as it is": 1.5, "affine": 0.5})
    >>> round(contest.score("affine"), 3), contest.winner(["as it is", "affine"])
    (1.118, 'as it is')
    """

    standings: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Any) -> Self:
        """What :meth:`memory` gave.

        Raises
        ------
        StateError
            It could not have.
        """
        if not isinstance(kept, dict):
            raise nonsense("a contest", "standings by candidate", kept)
        found = dict[str, tuple[float, float]]()
        for name, standing in kept.items():
            about = fields_of(standing, ("total", "weight"), f"standing of {name!r:.40}")
            total, weight = about["total"], about["weight"]
            numbers = type(total) is float and type(weight) is float
            if not numbers or not abs(total) <= _LARGEST or not 0 < weight < 1 / (1 - DECAY):  # NaN is neither
                raise nonsense(f"standing of {name!r:.40}", "two numbers", standing)
            found[name] = (total, weight)
        return cls(found)

    def memory(self) -> dict[str, Any]:
        """JSON for :meth:`of`."""
        return {name: {"total": total, "weight": weight} for name, (total, weight) in self.standings.items()}

    def after(self, scores: Mapping[str, float]) -> Self:
        """After a window in which candidates had these scores; those without one keep what they have."""
        nothing = (0.0, 0.0)
        news = {}
        for name, score in scores.items():
            total, weight = self.standings.get(name, nothing)
            news[name] = (DECAY * total + score, DECAY * weight + 1.0)
        return type(self)({**self.standings, **news})

    def among(self, names: Collection[str]) -> Self:
        """As if all others had never been there."""
        return type(self)({name: standing for name, standing in self.standings.items() if name in names})

    def score(self, name: str) -> float:
        """Mean score of a candidate that has one."""
        total, weight = self.standings[name]
        return total / weight

    def winner(self, names: Sequence[str]) -> str:
        """The best of these that have a score; of equally good ones the first."""
        return max((name for name in names if name in self.standings), key=self.score)
