"""Image classification tasks that a pretrained network is fine-tuned on: pixels as they are stored, and its codes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError, check_known
from calibrant.core.rng import generator
from calibrant.data import archive, cifar10
from calibrant.data.resize import bilinear

FASHION_CLASSES = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
_FASHION_TEST = 20  # of the 90 images of a class

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """Images uint8[N, 3, height, width] with classes int64[N], for training and for testing."""

    name: str
    classes: tuple[str, ...]
    x: Pixels
    y: Labels
    test_x: Pixels
    test_y: Labels


def codes(x: Pixels, size: int) -> NDArray[np.int8]:
    """Input codes int8[N, size, size, 3] of the published networks: round(255 (p - 1/2)) of pixels p in 0..1, resized.

    Source: mit-han-lab/tiny-training, which feeds 255 (p - 0.5) at scale 2 / 255 with zero point 0.

    Examples
    --------
    >>> codes(np.array([0, 128, 255], np.uint8).reshape(1, 3, 1, 1), 1)[0, 0, 0].tolist()
    [-128, 0, 127]
    """
    made = np.empty((len(x), size, size, x.shape[1]), np.int8)
    for start in range(0, len(x), 256):  # the float image of a batch is 16 times its codes
        centered = np.rint(bilinear(x[start : start + 256], size) - np.float32(127.5))
        made[start : start + 256] = np.clip(centered, -128, 127).astype(np.int8).transpose(0, 2, 3, 1)
    return made


def subset(y: Labels, count: int, seed: int, purpose: str) -> NDArray[np.int64]:
    """Indices int64[count] drawn evenly from the classes, in a random order.

    Parameters
    ----------
    y : int64[N]
    count : int
        At most as many as all classes can give evenly; what is left over of an uneven share goes to the first classes.
    seed : int
    purpose : str
        What the draw is for: another one, another draw.

    Raises
    ------
    DataError
        If a class has too few samples.

    Examples
    --------
    >>> y = np.arange(20) % 4
    >>> rows = subset(y, 8, 0, "training")
    >>> len(set(rows.tolist())), np.bincount(y[rows]).tolist()
    (8, [2, 2, 2, 2])
    """
    rng = generator(seed, f"subset {purpose}")
    labels = np.unique(y)
    drawn = []
    for rank, label in enumerate(labels):
        own, share = np.flatnonzero(y == label), count // len(labels) + (rank < count % len(labels))
        if share > len(own):
            raise DataError(f"{purpose} samples: expected at most {len(own)} of class {label}, got {share}")
        drawn.append(rng.permutation(own)[:share])
    rows: NDArray[np.int64] = rng.permutation(np.concatenate(drawn)).astype(np.int64)
    return rows


def load_task(name: str, folder: str | Path) -> Task:
    """Read a task from the data folder.

    Parameters
    ----------
    name : {"cifar10", "fashion"}
        ``fashion`` are the 900 images of ``fashion_mnist_sprite``, gray as three equal channels.
    folder : path

    Raises
    ------
    DataError
        If the task is unknown, or a file is missing or damaged.
    """
    return TASKS[_known(name)].load(Path(folder))


def task_digest(name: str, folder: str | Path) -> str:
    """SHA-256 of the files of a task."""
    sha256 = hashlib.sha256()
    for file in TASKS[_known(name)].files:
        path = Path(folder) / file
        if not path.is_file():
            raise DataError(f"{path}: expected an npz file, got nothing at this path")
        sha256.update(path.read_bytes())
    return sha256.hexdigest()


@dataclass(frozen=True)
class _Source:
    files: tuple[str, ...]
    load: Callable[[Path], Task]


def _cifar10(folder: Path) -> Task:
    train, test = (cifar10.read(folder / "cifar10" / file) for file in cifar10.FILES)
    return Task("cifar10", cifar10.CLASSES, *train, *test)


def _fashion(folder: Path) -> Task:
    path = folder / "fashion_mnist_sprite" / "sprite.npz"
    arrays = archive.read(path, ("x", "y"))
    x, y = arrays["x"], arrays["y"]
    fits = x.dtype == np.uint8 and x.shape[1:] == (1, 28, 28) and y.shape == x.shape[:1] and y.dtype.kind in "iu"
    if not fits or not np.isin(y, range(len(FASHION_CLASSES))).all():
        found = f"{x.dtype} {list(x.shape)} and {y.dtype} {list(y.shape)}"
        raise DataError(f"{path}: expected x uint8 [N, 1, 28, 28] and classes 0 to 9, got {found}")
    x, y = np.repeat(x, 3, axis=1), y.astype(np.int64)
    held = subset(y, _FASHION_TEST * len(FASHION_CLASSES), 0, "fashion test")
    rest = np.setdiff1d(np.arange(len(y)), held)
    return Task("fashion", FASHION_CLASSES, x[rest], y[rest], x[held], y[held])


TASKS: Mapping[str, _Source] = {
    "cifar10": _Source(tuple(f"cifar10/{file}" for file in cifar10.FILES), _cifar10),
    "fashion": _Source(("fashion_mnist_sprite/sprite.npz",), _fashion),
}


def _known(name: str) -> str:
    check_known("task", name, TASKS)
    return name
