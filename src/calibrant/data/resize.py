"""Bilinear resizing of images in plain numpy, so that a task's pixels do not depend on an image library's version."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def bilinear(x: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Images at another size; pixel centers at half coordinates, edges repeated (as torch with align_corners=False).

    Meant for enlarging: a smaller size takes two neighbors a side and does not average over the rest.

    Parameters
    ----------
    x : uint8[N, channels, height, width]
    size : int
        Of both sides.

    Returns
    -------
    float32[N, channels, size, size]
        On the scale of `x`, 0 to 255.

    Examples
    --------
    >>> bilinear(np.array([[[[0, 4]]]], np.uint8), 4)[0, 0, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    low, high, share = _taps(x.shape[2], size)
    rows = x.astype(np.float32)
    column = share[:, None]
    rows = rows[:, :, low] * (1 - column) + rows[:, :, high] * column
    low, high, share = _taps(x.shape[3], size)
    resized: NDArray[np.float32] = rows[..., low] * (1 - share) + rows[..., high] * share
    return resized


def _taps(count: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each new position its two neighbors among `count` old ones, and the share of the second."""
    center = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
    low = np.floor(center).astype(np.int64)
    return low, np.minimum(low + 1, count - 1), (center - low).astype(np.float32)
