"""Gas Sensor Array Drift (Vergara et al., 2012): six gases, 128 features of 16 sensors, batches over 36 months."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibrant.core.errors import DataError
from calibrant.data import archive
from calibrant.data.domain import Domain, fifths

BATCHES = (1, 2, 3, 4, 5, 6, 8, 9)
FILES = tuple(f"batch{number:02}.npz" for number in BATCHES)
CLASSES = ("ethanol", "ethylene", "ammonia", "acetaldehyde", "acetone", "toluene")


def load(files: tuple[Path, ...], number: int, name: str) -> Domain:
    """Read one batch: x float32[N, 128, 1], sign and logarithm, for features span seven decades.

    `segment` are consecutive tenths of each class, the last two of which are held.
    """
    path = files[BATCHES.index(number)]
    arrays = archive.read(path, ("x", "y"))
    x, y = arrays["x"], arrays["y"].astype(np.int64)
    if x.ndim != 2 or y.shape != x.shape[:1] or not np.isin(y, range(len(CLASSES))).all():
        raise DataError(f"{path}: expected x [N, C] and classes 0 to 5 [N], got {x.shape} and {y.shape}")
    squeezed = (np.sign(x) * np.log1p(np.abs(x))).astype(np.float32)
    segment, held = fifths(y)
    return Domain(squeezed[:, :, None], y, segment, held, CLASSES, name)
