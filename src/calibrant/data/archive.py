"""Reading npz archives of a data folder: every way one can be wrong becomes one line."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """The named arrays of one npz file; pickled objects are refused.

    Raises
    ------
    DataError
        If the file is missing, is no npz or a damaged one, or lacks a key.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected an npz file, got nothing at this path")
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: expected an npz archive, got a single array")
        with archive:
            missing = [key for key in keys if key not in archive]
            if missing:
                held = ", ".join(sorted(archive.files)) or "nothing"
                raise DataError(f"{path}: expected arrays {', '.join(keys)}, lacks {', '.join(missing)} (holds {held})")
            return {key: archive[key] for key in keys}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        raise DataError(f"{path}: expected a readable npz archive, got a damaged one ({error})") from error
