"""Where the C sources are, in a checkout or in an installed wheel, and which of them a program needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from calibrant.core.errors import DataError

HEADERS = ("calibrant/calibrant.h", "calibrant/kernel.h", "calibrant/ops.def")
_ROW = re.compile(r"^CAL_OP\((\w+), (\w+)\)", re.MULTILINE)


def root() -> Path:
    """The folder that holds include/, ref/ and ports/.

    Raises
    ------
    DataError
        The installation came without it.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parents[1] / "c", package / "c", *_installed()):
        if (folder / "include" / HEADERS[0]).is_file():
            return folder
    raise DataError(f"export: expected the C sources in {package / 'c'}, got none; install Calibrant again")


def _installed() -> tuple[Path, ...]:
    """Beside the compiled engine, where an editable install keeps what CMake installed."""
    from calibrant import _engine

    return (Path(_engine.__file__).resolve().parent / "c",) if _engine.__file__ else ()


@cache
def kernels() -> Mapping[str, str]:
    """The kernel that runs each kind of op, from the rows of ops.def.

    Examples
    --------
    >>> kernels()["rescale"]
    'concat'
    """
    return dict(_ROW.findall((root() / "include" / "calibrant" / "ops.def").read_text(encoding="utf-8")))
