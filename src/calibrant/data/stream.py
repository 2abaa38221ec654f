"""A training set as a stream: shuffled once, cut into windows of equal size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.core.rng import generator

Window = tuple[NDArray[Any], NDArray[np.int64]]


def windows(
    x: NDArray[Any], y: NDArray[np.int64], *, count: int | None = None, size: int | None = None, seed: int = 0
) -> list[Window]:
    """Cut shuffled samples into windows; what does not fill a window is dropped.

    Parameters
    ----------
    x : array[N, ...]
    y : int64[N]
    count : int, optional
        Number of windows, each of floor(N / count) samples.
    size : int, optional
        Samples per window, floor(N / size) windows. With both, the first `count` windows of `size` samples.
    seed : int
        Of the shuffle.

    Returns
    -------
    list of (x array[size, ...], y int64[size])

    Raises
    ------
    DataError
        If neither is given, or there are too few samples.

    Examples
    --------
    >>> parts = windows(np.arange(912), np.zeros(912, np.int64), count=10)
    >>> len(parts), len(parts[0][0])
    (10, 91)
    """
    if count is None and size is None:
        raise DataError("stream: expected a window count or a window size, got neither")
    samples = len(y)
    if size is None:
        assert count is not None
        size = samples // max(count, 1)
    elif count is None:
        count = samples // max(size, 1)
    if size < 1 or count < 1 or size * count > samples:
        raise DataError(f"stream: expected at least {max(count, 1)} windows of {max(size, 1)}, got {samples} samples")
    order = generator(seed, "stream").permutation(samples)
    parts = order[: count * size].reshape(count, size)
    return [(x[part], y[part]) for part in parts]
