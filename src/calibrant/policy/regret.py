"""Has adapting paid? Each new window is the first honest test of what earlier ones taught.

From the first window of a spell of adapting on, the version in force before it, its home, is asked as well about every
labeled window that comes, before that is learned from. The labels that only one of the two gets right are counted
(McNemar, "Note on the sampling error of the difference between correlated proportions or percentages", 1947). Samples
held back of one window are too few to see a loss of some points; the windows of a spell together are not. When the
version in force is ahead beyond chance, counting starts anew: what was worth it at the beginning of a spell may not be
later, and the gains of the beginning must not outweigh it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.policy.significance import ahead


@dataclass(frozen=True)
class Regret:
    """What a spell's windows say so far.

    `home` is a version's number; of `labels` it got `errors` wrong, and it alone was right on `lost` of them, the
    version then in force alone on `won`.

    Examples
    --------
    >>> right, wrong = np.zeros(20, bool), np.ones(20, bool)
    >>> Regret(home=3).after(home=wrong, head=right).regretted
    False
    >>> Regret(home=3).after(home=right, head=wrong).regretted
    True
    """

    home: int
    labels: int = 0
    errors: int = 0
    lost: int = 0
    won: int = 0

    @classmethod
    def of(cls, kept: Any, head: int) -> Regret | None:
        """What :meth:`memory` gave, if it is that and its home is before the version `head`; else None."""
        names = cls.__dataclass_fields__
        if not isinstance(kept, Mapping) or set(kept) != set(names):
            return None
        if not all(isinstance(kept[name], int) and not isinstance(kept[name], bool) for name in names):
            return None
        told = cls(**kept)
        least = told.home, told.lost, told.won, told.errors - told.won, told.labels - told.errors - told.lost
        return told if min(least) >= 0 and told.home < head else None

    def memory(self) -> dict[str, int]:
        """JSON for :meth:`of`."""
        return asdict(self)

    def after(self, home: NDArray[np.bool_], head: NDArray[np.bool_]) -> Regret:
        """With another window: what home and the version in force get wrong of its labeled samples, bool[labels].

        Counts begin anew where adapting has paid.
        """
        told = replace(
            self,
            labels=self.labels + home.size,
            errors=self.errors + int(np.count_nonzero(home)),
            lost=self.lost + int(np.count_nonzero(head & ~home)),
            won=self.won + int(np.count_nonzero(home & ~head)),
        )
        return Regret(self.home) if ahead(told.won, told.lost) else told

    @property
    def regretted(self) -> bool:
        """Whether home does better, beyond chance."""
        return ahead(self.lost, self.won)

    @property
    def error(self) -> float:
        """Share of the labels that home gets wrong."""
        return self.errors / max(self.labels, 1)
