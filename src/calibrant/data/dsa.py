"""Daily and Sports Activities (Altun, Barshan, Tuncel, 2010): 19 activities, 45 channels at 25 Hz, pieces of 5 s."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibrant.core.errors import DataError
from calibrant.data import archive
from calibrant.data.domain import Domain

LAST_TRAINING_SEGMENT = 48  # of 60 consecutive pieces of each activity's one session: 80 %


def load(path: Path, name: str) -> Domain:
    """Read one subject: x float32[N, 45, 125] in physical units."""
    arrays = archive.read(path, ("x", "scale", "y", "segment", "classes"))
    codes, scale, y = arrays["x"], arrays["scale"], arrays["y"]
    if codes.ndim != 3 or scale.shape != codes.shape[1:2] or y.shape != codes.shape[:1]:
        raise DataError(
            f"{path}: expected x [N, C, T], scale [C], y [N], got {codes.shape}, {scale.shape} and {y.shape}"
        )
    segment = arrays["segment"].astype(np.int64)
    return Domain(
        x=codes.astype(np.float32) * scale[:, None].astype(np.float32),
        y=y.astype(np.int64),
        segment=segment,
        held=segment > LAST_TRAINING_SEGMENT,
        classes=tuple(str(c) for c in arrays["classes"]),
        name=name,
    )
