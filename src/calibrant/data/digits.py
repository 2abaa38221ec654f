"""Scikit-learn's handwritten digits seen by a camera that drifts: it turns, blurs, fades and grows noisy."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.data.corruption import blur
from calibrant.data.stream import Window

SIDE = 16  # the 8x8 scans are enlarged so that small rotations and blurs show
FEWEST_TRAINING = 200


@dataclass(frozen=True)
class Camera:
    """How a camera distorts images of values in 0..1: y = gain * blur(rotate(x)) + haze + noise.

    `rotation` in degrees clockwise, `blur` as standard deviation in pixels, `noise` as standard deviation of values.
    """

    rotation: float = 0.0
    blur: float = 0.0
    gain: float = 1.0
    haze: float = 0.0
    noise: float = 0.0

    @staticmethod
    def drifted(amount: float) -> Camera:
        """The camera after a share 0..1 of its drift."""
        return Camera(
            rotation=30.0 * amount,
            blur=0.8 * amount,
            gain=1.0 - 0.35 * amount,
            haze=0.12 * amount,
            noise=0.04 * amount,
        )

    def shoot(self, x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Pictures float32[N, 1, h, w] of clean images float32[N, 1, h, w]."""
        seen = blur(_rotate(x, self.rotation), self.blur) * self.gain + self.haze
        return (seen + self.noise * rng.standard_normal(x.shape)).astype(np.float32)


@dataclass(frozen=True)
class CameraStream:
    """A source domain and the drifting stream: images float32[N, 1, 16, 16] in about 0..1, labels int64[N].

    `drift[i]` holds the camera's parameters during `windows[i]`.
    """

    train: Window
    test: Window
    windows: list[Window]
    drift: list[dict[str, float]]


def load() -> Window:
    """The clean digits: x float32[1797, 1, 16, 16] in 0..1, y int64[1797].

    Raises
    ------
    DataError
        If scikit-learn, which ships the images, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise DataError(
            "digits: expected scikit-learn (pip install 'calibrant[server]'), got no such module"
        ) from error
    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)
    return _enlarge(images)[:, None], bunch.target.astype(np.int64)


def camera_stream(windows: int = 20, size: int = 60, test: int = 200, seed: int = 0) -> CameraStream:
    """Digits as a source domain and as a stream whose camera drifts further with each window.

    No image appears twice: training, test and every window are disjoint.

    Parameters
    ----------
    windows, size : int
        Number of windows and images per window.
    test : int
        Images of the source test set, seen by the undrifted camera; what is left over is for training.
    seed : int

    Raises
    ------
    DataError
        If fewer than 200 images would be left for training.
    """
    x, y = load()
    left = len(y) - test - windows * size
    if min(windows, size, test) < 1 or left < FEWEST_TRAINING:
        raise DataError(
            f"camera stream: expected at least {FEWEST_TRAINING} images left for training, got {left} "
            f"({len(y)} less {test} for test and {windows} windows of {size})"
        )
    order = generator(seed, "digits split").permutation(len(y))
    rng = generator(seed, "camera noise")
    stream, drift = [], []
    for i in range(windows):
        part = order[i * size : (i + 1) * size]
        camera = Camera.drifted((i + 1) / windows)
        stream.append((camera.shoot(x[part], rng), y[part]))
        drift.append(asdict(camera))
    held, rest = order[windows * size : windows * size + test], order[windows * size + test :]
    return CameraStream((x[rest], y[rest]), (x[held], y[held]), stream, drift)


def _enlarge(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bilinear resize float32[N, 8, 8] -> float32[N, 16, 16], pixel centers aligned."""
    n = images.shape[-1]
    at = np.clip((np.arange(SIDE) + 0.5) * n / SIDE - 0.5, 0, n - 1)
    low = np.minimum(at.astype(np.int64), n - 2)
    weight = np.zeros((SIDE, n), np.float32)
    weight[np.arange(SIDE), low] = 1 - (at - low)
    weight[np.arange(SIDE), low + 1] = at - low
    return np.asarray(weight @ images @ weight.T, np.float32)


def _rotate(x: NDArray[np.float32], degrees: float) -> NDArray[np.float32]:
    """Rotate clockwise about the image center, bilinear, black outside."""
    h, w = x.shape[-2:]
    angle = np.deg2rad(degrees)
    row, column = np.mgrid[:h, :w].astype(np.float64) - np.array([(h - 1) / 2, (w - 1) / 2])[:, None, None]
    source_row = np.cos(angle) * row - np.sin(angle) * column + (h - 1) / 2
    source_column = np.sin(angle) * row + np.cos(angle) * column + (w - 1) / 2
    top, left = np.floor(source_row).astype(np.int64), np.floor(source_column).astype(np.int64)
    turned = np.zeros(x.shape, np.float64)
    for i in (0, 1):
        for j in (0, 1):
            r, c = top + i, left + j
            share = (1 - np.abs(source_row - r)) * (1 - np.abs(source_column - c))
            inside = (r >= 0) & (r < h) & (c >= 0) & (c < w)
            turned += np.where(inside, share * x[..., np.clip(r, 0, h - 1), np.clip(c, 0, w - 1)], 0)
    return turned.astype(np.float32)
