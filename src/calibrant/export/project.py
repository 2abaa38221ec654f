"""The files of an exported project: generated ones, and copies of the C sources it needs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from calibrant.core.errors import DataError
from calibrant.core.version import VERSION
from calibrant.export import sources
from calibrant.export.boards import Board
from calibrant.export.report import ExportReport

MARK = "board.mk"  # a folder that holds it and model.h was exported before


def check_target(folder: Path, force: bool) -> None:
    """Refuse a folder that holds something, unless it is an exported project and may be replaced.

    Raises
    ------
    DataError
        Says what is in the way.
    """
    if not folder.parent.is_dir():
        raise DataError(f"-o: expected a folder in an existing one, got {folder}: no folder {folder.parent}")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(f"-o: expected a folder, got the file {folder}")
    exported = (folder / MARK).is_file() and (folder / "model.h").is_file()
    if any(folder.iterdir()) and not (force and exported):
        remedy = "it is no exported project, so --force does not replace it" if not exported else "--force replaces it"
        raise DataError(
            f"-o: expected an empty folder, got {folder} with {len(list(folder.iterdir()))} entries; {remedy}"
        )


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder` that takes its place if all goes well, and is removed if not."""
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        umask = os.umask(0)
        os.umask(umask)
        made.chmod(0o777 & ~umask)
        yield made
        if folder.exists():
            replaced = made.with_name(f"{made.name}-old")
            folder.rename(replaced)
            made.rename(folder)
            shutil.rmtree(replaced)
        else:
            made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def copy(folder: Path, copies: Mapping[str, str]) -> None:
    """C sources into the project: target name -> name under the root of the sources."""
    root = sources.root()
    for target, source in copies.items():
        path = folder / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / source, path)


def port_copies(board: Board) -> dict[str, str]:
    """The board's own files, with their places in the project."""
    names = sorted(path.name for path in (sources.root() / "ports" / board.port).iterdir() if path.is_file())
    places = {("Makefile" if name == "Makefile" else f"port/{name}"): f"ports/{board.port}/{name}" for name in names}
    return {**places, "port/port.h": "ports/port.h"}


def board_makefile(board: Board, compiled: Sequence[str], stream: Sequence[str], report: ExportReport) -> str:
    """board.mk: what the Makefile must know of this export."""
    lines = {
        "BOARD": board.name,
        "FLAGS": board.flags,
        "PACKAGES": " ".join(board.packages),
        "SOURCES": " ".join(compiled),
        "ADAPT": " ".join(stream),
    }
    if board.code and board.constants and board.ram:
        lines |= {
            "MACHINE": board.machine,
            "CODE_ORIGIN": hex(board.code.origin),
            "CODE_BYTES": hex(board.code.nbytes),
            "CONSTANTS_ORIGIN": hex(board.constants.origin),
            "CONSTANTS_BYTES": hex(board.constants.nbytes),
            "RAM_ORIGIN": hex(board.ram.origin),
            "RAM_BYTES": str(report.ram_limit),
            "STACK_BYTES": str(board.stack_bytes),
        }
    return f"# Written by calibrant {VERSION}.\n" + "".join(f"{name} := {value}\n" for name, value in lines.items())
