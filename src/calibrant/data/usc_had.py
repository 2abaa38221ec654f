"""USC Human Activity Dataset (Zhang, Sawchuk, 2012): 12 activities, 6 channels at 100 Hz, windows of 5 s."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.data import archive
from calibrant.data.domain import Domain

CLASSES = (
    "walking forward",
    "walking left",
    "walking right",
    "walking upstairs",
    "walking downstairs",
    "running forward",
    "jumping up",
    "sitting",
    "standing",
    "sleeping",
    "elevator up",
    "elevator down",
)
HELD_SHARE = 0.2


def load(path: Path, name: str) -> Domain:
    """Read one subject: x float32[N, 6, 500]; `segment` is the recording each window was cut from."""
    arrays = archive.read(path, ("x", "y", "rec"))
    x, y, recording = arrays["x"], arrays["y"], arrays["rec"]
    if x.ndim != 3 or y.shape != x.shape[:1] or recording.shape != y.shape:
        raise DataError(f"{path}: expected x [N, C, T], y [N], rec [N], got {x.shape}, {y.shape} and {recording.shape}")
    labels, segment = y.astype(np.int64), recording.astype(np.int64)
    return Domain(x.astype(np.float32), labels, segment, held_recordings(labels, segment), CLASSES, name)


def held_recordings(y: NDArray[np.int64], recording: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Per class, the whole recordings whose windows come closest to a fifth of the class: bool[N].

    Recordings differ in length, so a fixed trial number would hold back anything from a tenth to a third. A class with
    one recording stays in training.

    Examples
    --------
    >>> held_recordings(np.zeros(8, np.int64), np.array([0, 0, 0, 0, 1, 1, 2, 2])).astype(int).tolist()
    [0, 0, 0, 0, 0, 0, 1, 1]
    """
    held = np.zeros(len(y), np.bool_)
    for label in np.unique(y):
        numbers, counts = np.unique(recording[y == label], return_counts=True)
        goal = HELD_SHARE * counts.sum()
        # Later recordings first, fewer recordings first: min keeps the first of equals.
        choices = [c for k in range(1, len(numbers)) for c in combinations(range(len(numbers))[::-1], k)]
        if choices:
            best = min(choices, key=lambda chosen: abs(counts[list(chosen)].sum() - goal))
            held |= (y == label) & np.isin(recording, numbers[list(best)])
    return held
