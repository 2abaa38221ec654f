"""Two long streams of eight features: electricity prices (Harries, 1999) and daily weather (Elwell, Polikar, 2011)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibrant.core.errors import DataError
from calibrant.data import archive
from calibrant.data.domain import Domain

PARTS = (1, 2)  # halves of the stream, in time order
HELD_SHARE = 0.2
CLASSES = {"elec2": ("down", "up"), "weather": ("dry", "rain")}
COLUMNS = {"elec2": (1, 2, 4, 5, 6, 7), "weather": tuple(range(8))}  # the date and the price itself are left out


def load(dataset: str, path: Path, part: int, name: str) -> Domain:
    """Read one half: x float32[N, C, 1] in time order; `segment` counts fifths of it, and the last one is held."""
    arrays = archive.read(path, ("x", "y"))
    x, y = arrays["x"], arrays["y"].astype(np.int64)
    if x.ndim != 2 or x.shape[1] != 8 or y.shape != x.shape[:1] or not np.isin(y, (0, 1)).all():
        raise DataError(f"{path}: expected x [N, 8] and classes 0 and 1 [N], got {x.shape} and {y.shape}")
    half = slice(0, len(y) // 2) if part == 1 else slice(len(y) // 2, None)
    x, y = x[half][:, list(COLUMNS[dataset])].astype(np.float32), y[half]
    segment = np.arange(len(y)) * 5 // len(y)
    return Domain(x[:, :, None], y, segment, segment == 4, CLASSES[dataset], name)
