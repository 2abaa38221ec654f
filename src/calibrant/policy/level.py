"""How high something usually is, and whether adapting lowers it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

PATIENCE = 4  # windows that were adapted to without a gain: what remains is usual from then on
QUIET = 60  # weight of the latest windows without alarm that ends an alarm
_FORGETTING = 100  # weight over which the expected level falls to where windows are


@dataclass(frozen=True)
class Level:
    """What value windows are expected to have, and what adapting to those above it has brought so far.

    After an alarm `best` is the lowest value of a window that was adapted to, and `idle` such windows did not go below
    it since; `total` is the sum of value times weight over all windows since the best one, `weight` the sum of their
    weights, `quiet` that of the latest windows without alarm.

    Examples
    --------
    >>> level = Level(0.01)
    >>> for value in (0.5, 0.2, 0.21, 0.19, 0.2, 0.2, 0.2, 0.2):
    ...     level = level.adapted(value, 50, lambda best: False)
    >>> level.best, level.idle, level.stuck(100), round(level.settled().expected, 3)
    (0.19, 4, True, 0.2)
    """

    expected: float
    best: float | None = None
    idle: int = 0
    total: float = 0.0
    weight: float = 0.0
    quiet: float = 0.0

    @classmethod
    def of(cls, floor: float, kept: object) -> Level:
        """What `dataclasses.asdict` gave, if `kept` is that, not below the floor; else a level at the floor."""
        names = set(cls.__dataclass_fields__)
        if not isinstance(kept, Mapping) or set(kept) != names or not all(map(is_number, _without_best(kept))):
            return cls(floor)
        if not (kept["best"] is None or is_number(kept["best"])):
            return cls(floor)
        return replace(cls(**kept), expected=max(floor, float(kept["expected"])))

    def adapted(self, value: float, weight: float, worse: Callable[[float], bool]) -> Level:
        """After a window that was adapted to; `worse(best)` says that it is clearly above such a value."""
        if self.best is None or value < self.best or worse(self.best):
            return Level(self.expected, value)
        total, weight = self.total + value * weight, self.weight + weight
        return replace(self, idle=self.idle + 1, total=total, weight=weight, quiet=0.0)

    def stuck(self, enough: float) -> bool:
        """Whether adapting has not lowered it for long, by `enough` evidence."""
        return self.idle >= PATIENCE and self.weight >= enough

    def settled(self) -> Level:
        """What remains when it is stuck is usual."""
        return Level(max(self.expected, self.total / self.weight))

    def stayed(self, value: float, weight: float, floor: float) -> Level:
        """After a window without alarm: the expected value follows it down."""
        step = min(value - self.expected, 0.0) * weight / (weight + _FORGETTING)
        expected, quiet = max(floor, self.expected + step), self.quiet + weight
        if self.best is None or quiet >= QUIET:
            return Level(expected)
        total, weight = self.total + value * weight, self.weight + weight
        return replace(self, expected=expected, total=total, weight=weight, quiet=quiet)


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _without_best(kept: Mapping[str, Any]) -> list[Any]:
    return [value for name, value in kept.items() if name != "best"]
