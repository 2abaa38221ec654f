"""Names of the classes that a head knows, and the rows of its arrays that they stand for."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError, check_known

Number = TypeVar("Number", bound=np.generic)


def grown(known: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    """`known`, then those of `names` that are new, in their order.

    Examples
    --------
    >>> grown(("walk", "run"), ("sit", "run"))
    ('walk', 'run', 'sit')
    """
    return (*known, *(name for name in names if name not in known))


def row(known: tuple[str, ...], name: str) -> int:
    """Where a class stands; DataError if it is not known."""
    check_known("class", name, known)
    return known.index(name)


def without(known: tuple[str, ...], name: str) -> tuple[str, ...]:
    """All others; DataError if it is not known."""
    at = row(known, name)
    return known[:at] + known[at + 1 :]


def renamed(known: tuple[str, ...], old: str, new: str) -> tuple[str, ...]:
    """With another name in its place.

    Raises
    ------
    DataError
        `old` is not known, or `new` is empty or another class's.
    """
    at = row(known, old)
    if not new or (new != old and new in known):
        raise DataError(f"class {old!r}: expected a new name that no class has, got {new!r}")
    return (*known[:at], new, *known[at + 1 :])


def padded(rows: NDArray[Number], count: int) -> NDArray[Number]:
    """An array [K, ...] with rows of zeros at its end, [count, ...]."""
    more: Any = np.zeros((count - len(rows), *rows.shape[1:]), rows.dtype)
    return np.concatenate([rows, more])
