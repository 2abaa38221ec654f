"""Going back is no verdict for ever: where adapting did harm, the next try there waits longer each time.

A place is where a window's features lie on average. After the first return to what was in force before, adapting may
try again at once; after the second it sits out one window, then 3, 7, ... What is usual is not touched by it, so a
stream whose first window was odd is not frozen by that window. Once adapting has paid, all places are forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

NEAR = 0.5  # root mean square distance of features, in spreads, within which two windows are of one place
MOST = 8  # places; the one least often gone back from is forgotten first
LONGEST = 10  # doublings of the wait: no place is given up on for good


@dataclass(frozen=True)
class Place:
    """Mean features float64[D] of windows there, and how often adapting there was undone."""

    mean: NDArray[np.float64]
    returns: int


@dataclass(frozen=True)
class Patience:
    """Where adapting was undone, and how many windows of an alarm are still to be sat out.

    Examples
    --------
    >>> here = np.zeros(4)
    >>> once = Patience().went_back(here)
    >>> twice = once.went_back(here + 0.1)
    >>> once.wait, twice.wait, twice.went_back(here).wait, twice.went_back(here + 9).wait
    (0, 1, 3, 0)
    """

    places: tuple[Place, ...] = field(default=())
    wait: int = 0

    @classmethod
    def of(cls, kept: Any, dimensions: int) -> Self:
        """What :meth:`memory` gave, if it is that, of so many features; else none."""
        try:
            places = tuple(
                Place(np.array(place["mean"], np.float64), int(place["returns"])) for place in kept["places"]
            )
            wait = int(kept["wait"])
        except (TypeError, KeyError, ValueError):
            return cls()
        whole = all(place.mean.shape == (dimensions,) and np.isfinite(place.mean).all() for place in places)
        fits = whole and len(places) <= MOST and all(place.returns > 0 for place in places)
        return cls(places, wait) if fits and 0 <= wait < 2**LONGEST else cls()

    def memory(self) -> Mapping[str, Any]:
        """JSON for :meth:`of`."""
        places = [{"mean": [round(v, 4) for v in p.mean.tolist()], "returns": p.returns} for p in self.places]
        return {"places": places, "wait": self.wait}

    def went_back(self, mean: NDArray[np.float64]) -> Self:
        """After adapting to windows with such mean features float64[D] was undone."""
        near = [math.sqrt(float(((place.mean - mean) ** 2).mean())) < NEAR for place in self.places]
        at = near.index(True) if True in near else None
        place = Place(mean, 1) if at is None else Place(self.places[at].mean, self.places[at].returns + 1)
        others = [p for i, p in enumerate(self.places) if i != at]
        kept = sorted(others, key=lambda p: -p.returns)[: MOST - 1]
        return type(self)((*kept, place), 2 ** min(place.returns - 1, LONGEST) - 1)

    def waited(self) -> Self:
        """After a window that would have been adapted to was sat out."""
        return type(self)(self.places, self.wait - 1)
