"""A small folder of pictures in the form of the CIFAR-10 subset: differences of neighbors, classes in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.rng import generator

CLASSES = 10


def write_pictures(path: Path, per_class: int, **changes: Any) -> NDArray[np.uint8]:
    """Write a file and return its pixels uint8[N, 3, 32, 32]: bars whose place tells the class, in noise.

    `changes` replace arrays of the file, or add some.
    """
    rng = generator(per_class, "pictures")
    y = np.tile(np.arange(CLASSES), per_class).astype(np.uint8)
    pixels = rng.integers(0, 100, (len(y), 3, 32, 32)).astype(np.uint8)
    for row, label in enumerate(y):
        pixels[row, label % 3, :, 3 * label : 3 * label + 4] += 150
    differences = np.diff(pixels, axis=-1, prepend=np.zeros((len(y), 3, 32, 1), np.uint8))
    np.savez(path, **({"dx": differences, "y": y} | changes))
    return pixels
