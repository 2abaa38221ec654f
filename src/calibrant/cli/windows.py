"""Reads samples and streams of windows from npz files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core import archive
from calibrant.core.arrays import INTEGERS, array_of
from calibrant.core.errors import DataError
from calibrant.core.task import check_labels
from calibrant.core.window import check_window


@dataclass(frozen=True)
class Samples:
    """x [N, ...] and, where there are any, labels y [N] (-1 for none), class names, and blocks [N]: numbers of the
    stretches of time that samples are of."""

    x: NDArray[Any]
    y: NDArray[Any] | None
    classes: tuple[str, ...] | None
    blocks: NDArray[Any] | None = None


def read(path: Path, limit: int | None = None) -> Samples:
    """Arrays `x`, and `y`, `classes` and `blocks` if present, of an npz file; nothing in it is executed.

    Raises
    ------
    DataError
        If the file cannot be read, is not an npz, has no `x`, holds anything but numbers and names, or unpacks to more
        than `limit` bytes.
    """
    held = archive.read(path, ("x",), ("y", "classes", "blocks"), limit)
    x = array_of(held["x"], f"{path}: x")
    y = array_of(held["y"], f"{path}: y", INTEGERS) if "y" in held else None
    blocks = array_of(held["blocks"], f"{path}: blocks", INTEGERS) if "blocks" in held else None
    return Samples(x, y, names_of(held["classes"], path) if "classes" in held else None, blocks)


def names_of(classes: Any, where: object) -> tuple[str, ...]:
    """Names of classes, one-dimensional text or integers; DataError for others."""
    given = np.asarray(classes)
    if given.ndim != 1 or given.dtype.kind not in "Uiu":
        raise DataError(f"{where}: classes: expected a list of names, got {given.dtype!s:.80} {list(given.shape)}")
    return tuple(str(each) for each in given.tolist())


def stream(samples: Samples, artifact: Artifact, window: int) -> Iterator[tuple[NDArray[Any], NDArray[Any] | None]]:
    """Cut samples into windows (x, y or None), every one of them checked before the first is given.

    Parameters
    ----------
    samples : Samples
        x [N, ...] is cut into windows of `window` samples (the last may be shorter); x [W, N, ...], one axis more than
        the artifact's samples have, is taken as W windows.
    artifact : Artifact
        Whose samples and labels they must be.
    window : int

    Raises
    ------
    DataError
        If anything in x or y is malformed: a stream is refused whole, so that nothing is learned from half of it.
    """
    x, y, rank = samples.x, samples.y, len(artifact.input_shape)
    if x.ndim not in (rank + 1, rank + 2):
        raise DataError(f"stream x: expected {rank + 1} axes [N, ...] or {rank + 2} [W, N, ...], got shape {x.shape}")
    leading = x.shape[: x.ndim - rank]
    if 0 in x.shape:
        raise DataError(f"stream x: expected at least one value, got shape {x.shape}")
    if y is not None and y.shape != leading:
        raise DataError(f"stream y: expected shape {leading} as x has, got {y.shape}")
    flat = check_window(x.reshape(-1, *x.shape[x.ndim - rank :]), artifact.input_shape)
    labels = None if y is None else check_labels(y.reshape(-1), len(flat), artifact.meaning.labels)
    size = leading[1] if len(leading) == 2 else window
    return ((flat[i : i + size], None if labels is None else labels[i : i + size]) for i in range(0, len(flat), size))
