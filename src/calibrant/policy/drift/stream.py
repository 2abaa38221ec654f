"""What every streaming test has in common."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibrant.core.errors import DataError

NOWHERE: NDArray[np.int64] = np.zeros(0, np.int64)
NOWHERE.setflags(write=False)


class DriftTest(Protocol):
    """A test that watches a stream of numbers. How the stream is cut into calls changes nothing."""

    def update(self, values: ArrayLike) -> NDArray[np.int64]:
        """Watch the next values, float[n]; the positions among them where a change is detected, int64[...] ascending.

        The test starts over after each detection. DataError for values that are no finite numbers in one row.
        """


def checked(values: ArrayLike) -> NDArray[np.float64]:
    """The next values of a stream as float64[n]; a number alone is a row of one."""
    row = np.atleast_1d(np.asarray(values, np.float64))
    if row.ndim != 1 or not np.isfinite(row).all():
        raise DataError(f"stream: expected finite numbers in one row, got shape {row.shape} with {_strange(row)}")
    return row


def between(name: str, value: float, low: float, high: float) -> None:
    """Refuse a parameter outside low..high."""
    if not low <= value <= high:
        raise DataError(f"{name}: expected {low:g} to {high:g}, got {value:g}")


def _strange(row: NDArray[np.float64]) -> str:
    strange = row[~np.isfinite(row)]
    return f"{strange.size} that are not finite" if strange.size else "finite values"
