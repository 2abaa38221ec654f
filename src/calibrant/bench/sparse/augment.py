"""Other views of a training image: a random part of it, mirrored by chance, with other light and color.

As the published recipe's: random resized crop, horizontal flip, color jitter of 0.4 (brightness, contrast, saturation).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from calibrant.core.rng import generator
from calibrant.data.resize import bilinear

AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
JITTER = 0.4
_TRIES = 10
_GRAY = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue (ITU-R BT.601)


def views(x: NDArray[np.uint8], size: int, seed: int, epoch: int) -> NDArray[np.int8]:
    """Input codes int8[N, size, size, 3] of a view of each image uint8[N, 3, height, width], as `data.task.codes`."""
    rng = generator(seed, f"views of epoch {epoch}")
    made = np.empty((len(x), size, size, 3), np.int8)
    for number, image in enumerate(x):
        top, left, height, width = _part(rng, image.shape[1], image.shape[2])
        view = bilinear(image[None, :, top : top + height, left : left + width], size)[0]
        view = _jittered(rng, view[..., ::-1] if rng.random() < 0.5 else view)
        made[number] = np.clip(np.rint(view - np.float32(127.5)), -128, 127).astype(np.int8).transpose(1, 2, 0)
    return made


def _part(rng: np.random.Generator, height: int, width: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random part; all of it where none fits in ten tries."""
    for _ in range(_TRIES):
        area = height * width * rng.uniform(*AREA)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            return int(rng.integers(height - down + 1)), int(rng.integers(width - across + 1)), down, across
    return 0, 0, height, width


def _jittered(rng: np.random.Generator, view: NDArray[np.float32]) -> NDArray[np.float32]:
    """Brightness, contrast and saturation, each drawn towards or away from black, the mean gray and gray."""
    for pole in rng.permutation(3):
        share = np.float32(rng.uniform(1 - JITTER, 1 + JITTER))
        gray = np.tensordot(_GRAY, view, 1)
        towards = (np.float32(0), gray.mean(), gray[None])[pole]
        view = np.clip(view * share + towards * (1 - share), 0, 255)
    return view
