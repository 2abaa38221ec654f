"""The data sets by name, and the subjects a folder holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from calibrant.core.errors import DataError
from calibrant.data import dsa, usc_had
from calibrant.data.domain import Domain

DATASETS: Mapping[str, Callable[[Path, str], Domain]] = {"dsa": dsa.load, "usc_had": usc_had.load}


def subjects(dataset: str, folder: str | Path) -> list[int]:
    """The subject numbers that `folder`/`dataset` holds, ascending.

    Raises
    ------
    DataError
        If the data set is unknown, or its folder is missing or empty.
    """
    root = _folder(dataset, folder)
    matches = (re.fullmatch(r"subject(\d+)\.npz", path.name) for path in root.iterdir())
    numbers = sorted(int(match[1]) for match in matches if match)
    if not numbers:
        raise DataError(f"{root}: expected files subjectN.npz, got none")
    return numbers


def load(dataset: str, folder: str | Path, subject: int) -> Domain:
    """Read one subject of a data set.

    Parameters
    ----------
    dataset : {"dsa", "usc_had"}
    folder : path
        The data folder, with one folder per data set.
    subject : int
        One of :func:`subjects`.

    Raises
    ------
    DataError
        If the data set is unknown or the file is missing, damaged or incomplete.
    """
    path = _folder(dataset, folder) / f"subject{subject}.npz"
    if not path.is_file():
        held = ", ".join(map(str, subjects(dataset, folder)))
        raise DataError(f"{path}: expected one of subjects {held}, got {subject}")
    return DATASETS[dataset](path, f"{dataset}/subject{subject}")


def _folder(dataset: str, folder: str | Path) -> Path:
    if dataset not in DATASETS:
        raise DataError(f"data set: expected one of {', '.join(DATASETS)}, got '{dataset}'")
    root = Path(folder) / dataset
    if not root.is_dir():
        raise DataError(f"data set {dataset}: expected a folder at {root}, got none")
    return root
