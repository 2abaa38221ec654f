"""The folder of data sets and its npz archives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from calibrant.core import archive
from calibrant.core.errors import DataError

VARIABLE = "CALIBRANT_DATA"


def folder(path: str | Path | None = None) -> Path:
    """The data folder: `path` if given, else the environment variable CALIBRANT_DATA.

    Raises
    ------
    DataError
        If neither is given, or the folder does not exist.
    """
    given = os.environ.get(VARIABLE) if path is None else path
    if not given:
        raise DataError(f"data folder: expected a path or the environment variable {VARIABLE}, got neither")
    root = Path(given)
    if not root.is_dir():
        raise DataError(f"data folder {root}: expected an existing folder, got none")
    return root


def read(path: Path, keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """The named arrays of one npz file, see `core.archive`.

    Raises
    ------
    DataError
        If the file is missing, is no npz or a damaged one, or lacks an array.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected an npz file, got nothing at this path")
    return archive.read(path, keys)
