"""Reads samples and streams of windows from npz files."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.task import check_labels
from calibrant.core.window import check_window


@dataclass(frozen=True)
class Samples:
    """x [N, ...] and, where there are any, labels y [N] (-1 for none) and class names."""

    x: NDArray[Any]
    y: NDArray[Any] | None
    classes: tuple[str, ...] | None


def read(path: Path) -> Samples:
    """Arrays `x`, and `y` and `classes` if present, of an npz file; nothing in it is executed.

    Raises
    ------
    DataError
        If the file is not an npz, holds Python objects, or has no `x`.
    OSError
        If the file cannot be opened.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            if isinstance(archive, np.ndarray):
                raise DataError(f"{path}: expected an npz file with 'x', got a single array")
            held = {name: archive[name] for name in ("x", "y", "classes") if name in archive.files}
            names = ", ".join(archive.files) or "nothing"
    except ValueError as error:  # numpy's own text recommends unpickling, which is never safe here
        fault = "another format or pickled objects"
        raise DataError(f"{path}: expected an npz file of plain arrays, got {fault}") from error
    except (EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: expected an npz file of plain arrays, got a damaged one ({error})") from error
    if "x" not in held:
        raise DataError(f"{path}: expected an array 'x', got {names}")
    classes = tuple(str(c) for c in held["classes"].tolist()) if "classes" in held else None
    return Samples(held["x"], held.get("y"), classes)


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
    if y is not None and y.shape != leading:
        raise DataError(f"stream y: expected shape {leading} as x has, got {y.shape}")
    flat = check_window(x.reshape(-1, *x.shape[x.ndim - rank :]), artifact.input_shape)
    labels = None if y is None else check_labels(y.reshape(-1), len(flat), artifact.meaning.labels)
    size = leading[1] if len(leading) == 2 else window
    return ((flat[i : i + size], None if labels is None else labels[i : i + size]) for i in range(0, len(flat), size))
