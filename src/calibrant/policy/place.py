"""Where samples are in the space of signatures, as sums over them, so that more can join."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.policy.kept import nonsense, whole
from calibrant.policy.signature import LIMIT, ONE

MOST = 400  # samples that count: a domain's later ones replace its first ones, bit by bit
_SQUARE_ONE = 1 << 8  # squares are rounded to 1/256 of a squared unit of signatures


@dataclass(frozen=True, eq=False)
class Place:
    """Sums over `samples`: `total` int64[D] of their signatures, `squares` of all numbers in them, squared.

    Examples
    --------
    >>> place = Place.of(np.array([[256, 0], [0, 0]], np.int16))
    >>> apart(place, Place.empty(2)), place.variance
    (0.125, 0.25)
    """

    samples: int
    total: NDArray[np.int64]
    squares: int

    @classmethod
    def of(cls, signatures: NDArray[np.int16]) -> Self:
        """That of samples int16[n, D], at least one."""
        wide = signatures.astype(np.int64)
        return cls(len(wide), wide.sum(axis=0), int((wide * wide).sum()))

    @classmethod
    def empty(cls, dimensions: int) -> Self:
        """That of no samples: its mean is the origin, which is home's."""
        return cls(0, np.zeros(dimensions, np.int64), 0)

    @classmethod
    def kept(cls, fields: Mapping[str, Any], dimensions: int, where: str) -> Self:
        """What :meth:`memory` gave, for signatures of so many dimensions.

        Raises
        ------
        StateError
            It could not have.
        """
        samples, total = whole(fields["samples"], 0, MOST, f"{where} field 'samples'"), fields["total"]
        if not isinstance(total, list) or len(total) != dimensions:
            raise nonsense(f"{where} field 'total'", f"{dimensions} numbers", total)
        most = (LIMIT + 1) * samples
        sums = [whole(value, -most, most, f"{where} field 'total'") for value in total]
        squares = whole(fields["squares"], 0, (LIMIT + 1) ** 2 * samples * dimensions, f"{where} field 'squares'")
        return cls(samples, np.array(sums, np.int64), squares)

    def memory(self) -> dict[str, Any]:
        """JSON for :meth:`kept`."""
        return {"samples": self.samples, "total": self.total.tolist(), "squares": self.squares}

    @property
    def mean(self) -> NDArray[np.float64]:
        """float64[D], in units of signatures."""
        return self.total / max(self.samples, 1)

    @property
    def variance(self) -> float:
        """Of single samples around the mean, over all dimensions; 0 where fewer than two show none."""
        if self.samples < 2:
            return 0.0
        scatter = self.squares - _exact(self.mean) * self.samples
        return max(0.0, scatter) / ((self.samples - 1) * self.total.size * ONE**2)

    def counting(self, samples: int) -> Self:
        """As so many samples, not more than there are."""
        total, squares = self.total * samples // self.samples, self.squares * samples // self.samples
        return type(self)(samples, total, squares)

    def joined(self, earlier: Self | None) -> Self:
        """With earlier samples; beyond `MOST` all count less."""
        samples, total, squares = self.samples, self.total, self.squares
        if earlier is not None:
            samples, total, squares = samples + earlier.samples, total + earlier.total, squares + earlier.squares
        everything = type(self)(samples, total, squares)
        return everything if samples <= MOST else everything.counting(MOST)


def apart(a: Place, b: Place) -> float:
    """Mean squared distance of two places' means over dimensions, in squared signatures; exact but for one rounding."""
    return _exact(a.mean - b.mean) / (a.total.size * ONE**2)


def _exact(values: NDArray[np.float64]) -> float:
    """Sum of squares: each is rounded to a whole number of 1/256, and sums of those are below 2^53."""
    return float(np.rint(values * values * _SQUARE_ONE).sum()) / _SQUARE_ONE
