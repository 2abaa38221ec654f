"""Whole seats shared out: equally over classes, or in proportion to counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def equal_shares(counts: Counts, size: int, rng: np.random.Generator) -> Counts:
    """Seats per group, as equal as the groups' counts allow; those left over go to groups drawn at random.

    Parameters
    ----------
    counts : int64[K]
        Members of each group, at least `size` together.
    size : int
    rng : numpy.random.Generator

    Returns
    -------
    int64[K], summing to `size`, nowhere above `counts`

    Examples
    --------
    >>> equal_shares(np.array([50, 3, 10]), 15, np.random.default_rng(0)).tolist()
    [6, 3, 6]
    """
    shares = np.zeros_like(counts)
    while left := size - int(shares.sum()):
        growing = np.flatnonzero(shares < counts)
        if left < len(growing):
            shares[rng.permutation(growing)[:left]] += 1
        else:
            shares[growing] += min(left // len(growing), int((counts - shares)[growing].min()))
    return shares


def largest_remainder(counts: Counts, size: int) -> Counts:
    """Seats per group in proportion to its count: rounded down, then one more where most was cut off.

    Parameters
    ----------
    counts : int64[K]
        At least `size` together.
    size : int

    Returns
    -------
    int64[K], summing to `size`, nowhere above `counts`; of equal remainders the earlier group wins

    Examples
    --------
    >>> largest_remainder(np.array([70, 20, 10]), 8).tolist()
    [6, 1, 1]
    """
    seats, remainder = np.divmod(size * counts, max(1, int(counts.sum())))
    seats[np.argsort(-remainder, kind="stable")[: size - int(seats.sum())]] += 1
    return seats


def learned_first(misses: Counts, size: int, rng: np.random.Generator) -> Counts:
    """Rows a rule by misses may draw from: the learned ones, and of the others only as many as `size` lacks.

    Parameters
    ----------
    misses : int64[N]
        Negative for samples that were never learned.
    size : int
        At most N.
    rng : numpy.random.Generator

    Returns
    -------
    int64[at least size], distinct
    """
    rows = np.flatnonzero(misses >= 0)
    lacking = max(0, size - len(rows))
    return np.concatenate([rows, rng.permutation(np.flatnonzero(misses < 0))[:lacking]])
