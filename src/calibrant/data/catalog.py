"""The data sets by name, and the subjects (domains) a folder holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from calibrant.core.errors import DataError, check_known
from calibrant.data import cifar10, dsa, fsdd, gas_drift, tabular, usc_had
from calibrant.data.corruption import SEVERITIES
from calibrant.data.domain import Domain


@dataclass(frozen=True)
class DataSet:
    """A row of `DATASETS`.

    `rank` is that of one sample: 2 for series [channels, time], 3 for images [channels, height, width]. `load` takes
    the files of one subject, its number and its name. `files` names them within the data set's folder, ``{}`` standing
    for the subject's number; without it the files hold the subjects `numbers` together. `folder` is where they lie, if
    not in one of the data set's own name.
    """

    rank: int
    load: Callable[[tuple[Path, ...], int, str], Domain]
    files: tuple[str, ...] = ("subject{}.npz",)
    numbers: tuple[int, ...] | None = None
    folder: str | None = None


def _tabular(dataset: str, files: tuple[Path, ...], part: int, name: str) -> Domain:
    return tabular.load(dataset, files[0], part, name)


DATASETS: Mapping[str, DataSet] = {
    "dsa": DataSet(2, lambda files, _, name: dsa.load(files[0], name)),
    "usc_had": DataSet(2, lambda files, _, name: usc_had.load(files[0], name)),
    "cifar10": DataSet(3, cifar10.load, cifar10.FILES, SEVERITIES),
    "fsdd": DataSet(2, fsdd.load, fsdd.FILES, tuple(range(1, 1 + len(fsdd.SPEAKERS)))),
    "gas_drift": DataSet(2, gas_drift.load, gas_drift.FILES, gas_drift.BATCHES),
    "elec2": DataSet(2, partial(_tabular, "elec2"), ("elec2.npz",), tabular.PARTS, "streams"),
    "weather": DataSet(2, partial(_tabular, "weather"), ("weather.npz",), tabular.PARTS, "streams"),
}


def subjects(dataset: str, folder: str | Path) -> list[int]:
    """The subject numbers that `folder`/`dataset` holds, ascending.

    Raises
    ------
    DataError
        If the data set is unknown, or its folder is missing or empty.
    """
    root, row = _folder(dataset, folder), DATASETS[dataset]
    if row.numbers is not None:
        numbers = list(row.numbers) if all((root / name).is_file() for name in row.files) else []
    else:
        pattern = re.escape(row.files[0]).replace(r"\{\}", r"(\d+)")
        matches = (re.fullmatch(pattern, path.name) for path in root.iterdir())
        numbers = sorted(int(match[1]) for match in matches if match)
    if not numbers:
        found = "none" if row.numbers is None else "none or not all"
        raise DataError(f"{root}: expected files {', '.join(row.files).format('N')}, got {found}")
    return numbers


def load(dataset: str, folder: str | Path, subject: int) -> Domain:
    """Read one subject of a data set.

    Parameters
    ----------
    dataset : str
        A key of `DATASETS`.
    folder : path
        The data folder, with one folder per data set.
    subject : int
        One of :func:`subjects`; of ``cifar10`` the severity of the corruption, 0 to 5; of ``fsdd`` a
        speaker, of ``gas_drift`` a batch, of ``elec2`` and ``weather`` a half.

    Raises
    ------
    DataError
        If the data set is unknown or a file is missing, damaged or incomplete.
    """
    files = _files(dataset, folder, subject)
    return DATASETS[dataset].load(files, subject, f"{dataset}/subject{subject}")


def digest(dataset: str, folder: str | Path, subject: int) -> str:
    """SHA-256 of all files that a subject is read from: other data, another digest.

    Raises
    ------
    DataError
        If the data set is unknown or a file is missing.
    """
    sha256 = hashlib.sha256()
    for path in _files(dataset, folder, subject):
        sha256.update(path.read_bytes())
    return sha256.hexdigest()


def _files(dataset: str, folder: str | Path, subject: int) -> tuple[Path, ...]:
    root = _folder(dataset, folder)
    paths = tuple(root / name.format(subject) for name in DATASETS[dataset].files)
    held = subjects(dataset, folder)
    if subject not in held:
        raise DataError(f"{paths[0]}: expected one of subjects {', '.join(map(str, held))}, got {subject}")
    return paths


def _folder(dataset: str, folder: str | Path) -> Path:
    check_known("data set", dataset, DATASETS)
    root = Path(folder) / (DATASETS[dataset].folder or dataset)
    if not root.is_dir():
        raise DataError(f"data set {dataset}: expected a folder at {root}, got none")
    return root
