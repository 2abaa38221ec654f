"""A subset of CIFAR-10 (Krizhevsky, 2009) as six domains: the same kinds of picture, taken by an ageing camera.

Domain 0 is clean and large, for training; domains 1 to 5 see pictures of their own through corruption of growing
severity. No picture is in two domains.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.data import archive
from calibrant.data.corruption import SEVERITIES, Ageing
from calibrant.data.domain import Domain

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = ("train.npz", "test.npz")
SHAPE = (3, 32, 32)
TRAINING_PARTS = (5, 1, 1, 1, 1, 1)  # shares of the training pictures that the domains get
TEST_PARTS = (1, 1, 1, 1, 1, 1)


def load(files: tuple[Path, ...], severity: int, name: str) -> Domain:
    """Read one domain: x float32[N, 3, 32, 32] in 0..1; `segment` is the row in its file, the test file's are held.

    With the published 15,000 + 3,000 pictures, domain 0 has 7,500 for training and 500 held, each other 1,500 and 500;
    the classes are balanced. The noise of a picture depends on the domain alone, so every load gives the same bytes.

    Parameters
    ----------
    files : (path, path)
        Of the pictures for training and for testing.
    severity : {0, 1, 2, 3, 4, 5}
    name : str

    Raises
    ------
    DataError
        If a file is missing, damaged, incomplete or too small to be shared out.
    """
    rng = generator(severity, "cifar10 ageing")
    parts = []
    for path, shares in zip(files, (TRAINING_PARTS, TEST_PARTS), strict=True):
        pixels, y = read(path)
        x = pixels.astype(np.float32) / np.float32(255)
        rarest = int(np.bincount(y, minlength=len(CLASSES)).min())
        if rarest < sum(shares):
            raise DataError(f"{path}: expected at least {sum(shares)} images of every class, got {rarest} of one")
        rows = _share(y, shares)[severity]
        parts.append((Ageing.of(severity).apply(x[rows], rng), y[rows], rows))
    x, y, segment = (np.concatenate(column) for column in zip(*parts, strict=True))
    held = np.arange(len(y)) >= len(parts[0][1])
    return Domain(x, y, segment, held, CLASSES, name)


def read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures uint8[N, 3, 32, 32] from stored left-neighbor differences, and their classes int64[N].

    Raises
    ------
    DataError
        If the file is missing, damaged or something else.
    """
    arrays = archive.read(path, ("dx", "y"))
    differences, y = arrays["dx"], arrays["y"]
    fits = differences.shape[1:] == SHAPE and y.shape == differences.shape[:1]
    if not fits or differences.dtype != np.uint8 or y.dtype.kind not in "iu":
        found = f"{differences.dtype} {list(differences.shape)} and {y.dtype} {list(y.shape)}"
        raise DataError(f"{path}: expected dx uint8 [N, 3, 32, 32] and integers y [N], got {found}")
    labels = y.astype(np.int64)
    if not np.isin(labels, range(len(CLASSES))).all():
        raise DataError(f"{path}: expected classes 0 to {len(CLASSES) - 1}, got {labels.min()} to {labels.max()}")
    pixels: NDArray[np.uint8] = np.cumsum(differences, axis=-1, dtype=np.uint8)
    return pixels, labels


def _share(y: NDArray[np.int64], shares: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Rows of each domain, sorted: every class is shuffled once and cut in proportion to the shares."""
    rng = generator(0, "cifar10 domains")
    cuts = np.cumsum((0, *shares))
    domains: list[list[NDArray[np.int64]]] = [[] for _ in SEVERITIES]
    for label in range(len(CLASSES)):
        rows = rng.permutation(np.flatnonzero(y == label))
        unit = len(rows) // cuts[-1]
        for rank, own in enumerate(domains):
            own.append(rows[cuts[rank] * unit : cuts[rank + 1] * unit])
    return [np.sort(np.concatenate(own)).astype(np.int64) for own in domains]
