"""A data folder in the format of DSA, small and made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibrant.core.rng import generator

CLASSES, CHANNELS, LENGTH, SEGMENTS = 3, 4, 24, 60


def write_subject(root: Path, number: int, seed: int | None = None) -> None:
    """Three sine-like classes; each subject wears its sensors with other gains and offsets."""
    rng = generator(number if seed is None else seed, "subject")
    y = np.repeat(np.arange(CLASSES), SEGMENTS)
    time = np.arange(LENGTH)
    x = np.sin(time * (y[:, None] + 1) * 0.4 + rng.uniform(0, 6, (len(y), 1)))[:, None] * [[[1.0], [0.5], [-1], [0.2]]]
    x = x * rng.uniform(0.5, 1.6, (CHANNELS, 1)) + rng.normal(0, 0.6, (CHANNELS, 1)) + rng.normal(0, 0.2, x.shape)
    (root / "dsa").mkdir(parents=True, exist_ok=True)
    np.savez(
        root / "dsa" / f"subject{number}.npz",
        x=np.rint(x * 256).astype(np.int16),
        scale=np.full(CHANNELS, 1 / 256, np.float32),
        y=y.astype(np.uint8),
        segment=np.tile(np.arange(1, SEGMENTS + 1), CLASSES).astype(np.uint8),
        classes=np.array(["low", "middle", "high"]),
    )
