"""A few errors more than usual in every window: too few for any of them to call, together beyond chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from calibrant.policy.significance import improbable

FIRST = 32  # labels pooled before the first look; twice as many after each time that it called
MOST = 400  # labels that a look counts at most


@dataclass(frozen=True)
class SlowErrors:
    """Labels and errors of windows that were skipped since anything was last learned; `space` labels until a look.

    Examples
    --------
    >>> slow = SlowErrors().after(20, 2).after(20, 2)
    >>> slow.call(0.02), SlowErrors().after(20, 2).call(0.02), slow.learned(called=True).space
    (True, False, 64)
    """

    labels: int = 0
    errors: int = 0
    space: int = FIRST

    @classmethod
    def of(cls, kept: Any) -> Self:
        """What :meth:`memory` gave, if it is that; else a start."""
        try:
            found = cls(int(kept["labels"]), int(kept["errors"]), int(kept["space"]))
        except (TypeError, KeyError, ValueError):
            return cls()
        return found if 0 <= found.errors <= found.labels and found.space >= FIRST else cls()

    def memory(self) -> Mapping[str, int]:
        """JSON for :meth:`of`."""
        return {"labels": self.labels, "errors": self.errors, "space": self.space}

    def after(self, labels: int, errors: int) -> Self:
        """With another window."""
        return type(self)(self.labels + labels, self.errors + errors, self.space)

    def call(self, usual: float) -> bool:
        """Whether errors are beyond what a usual rate explains."""
        return self.labels >= self.space and improbable(self.errors, min(self.labels, MOST), usual)

    def learned(self, called: bool) -> Self:
        """After a window was learned from; `called`: because of :meth:`call`, whose next look then waits longer."""
        return type(self)(space=2 * self.space if called else FIRST)
