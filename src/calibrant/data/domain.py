"""One domain (a subject, a camera) of a data set, and its splits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.core.rng import generator

SPLITS = ("segment", "random")


@dataclass(frozen=True)
class Domain:
    """Labeled samples that share one source.

    x float32[N, channels, time], or [N, channels, height, width]; y int64[N], 0-based; segment int64[N], the position
    in the session, the recording or the file that each sample was taken from; held bool[N], the samples that the data
    set's leak-free split keeps for testing.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    segment: NDArray[np.int64]
    held: NDArray[np.bool_]
    classes: tuple[str, ...]
    name: str


def split(domain: Domain, how: str = "segment", seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices for training and for testing, about 80 % and 20 % (what `held` says, for ``segment``).

    Parameters
    ----------
    domain : Domain
    how : {"segment", "random"}
        ``segment`` (needs no seed) never puts two pieces of one stretch of recording on both sides. ``random`` draws
        80 % at random, as published protocols do; neighbors then leak and accuracies come out higher.
    seed : int

    Returns
    -------
    train, test : int64[...]
        Disjoint, together all samples. ``random`` gives them shuffled, ``segment`` sorted.

    Raises
    ------
    DataError
        If `how` is unknown.

    Examples
    --------
    >>> n = np.arange(10)
    >>> d = Domain(np.zeros((10, 1, 4), np.float32), n % 2, n, n >= 8, ("rest", "walk"), "toy")
    >>> [part.tolist() for part in split(d)]
    [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9]]
    >>> [len(part) for part in split(d, "random", seed=1)]
    [8, 2]
    """
    if how == "segment":
        return np.flatnonzero(~domain.held).astype(np.int64), np.flatnonzero(domain.held).astype(np.int64)
    if how == "random":
        order = generator(seed, f"split {domain.name}").permutation(len(domain.y)).astype(np.int64)
        cut = len(order) * 4 // 5
        return order[:cut], order[cut:]
    raise DataError(f"split: expected one of {', '.join(SPLITS)}, got '{how}'")


def fifths(y: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Consecutive tenths of each class, int64[N], and the last two of them as held, bool[N]; for data without a split.

    Examples
    --------
    >>> segment, held = fifths(np.zeros(10, np.int64))
    >>> segment.tolist(), np.flatnonzero(held).tolist()
    ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [8, 9])
    """
    segment = np.zeros(len(y), np.int64)
    for label in np.unique(y):
        own = np.flatnonzero(y == label)
        segment[own] = np.arange(len(own)) * 10 // len(own)
    return segment, segment >= 8
