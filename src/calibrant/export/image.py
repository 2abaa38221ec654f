"""Builds an exported project and holds the image against the export's byte table."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from calibrant.core.errors import DataError, PlanError
from calibrant.export.boards import Board
from calibrant.export.report import FLASH, RAM, ExportReport

_RAM_SECTIONS, _FLASH_SECTIONS = (".stack", ".data", ".bss"), (".text", ".rodata", ".data")


def check_tools(board: Board) -> None:
    """Refuse a board whose compiler, or `make`, is not on this machine.

    Raises
    ------
    DataError
        Names what is missing and the Debian packages that have it.
    """
    missing = [tool for tool in (board.compiler, "make") if shutil.which(tool) is None]
    if missing:
        packages = " ".join(dict.fromkeys((*board.packages, "make")))
        raise DataError(
            f"--build: {' and '.join(missing)} not found, {board.name} needs it: apt-get install {packages}"
        )


def build(folder: Path, board: Board, report: ExportReport) -> ExportReport:
    """Compile and link; the report with the bytes of code.

    Raises
    ------
    PlanError
        The image differs from the report: a fault of this release, not of the model.
    DataError
        The compiler or linker failed; says its last line.
    """
    check_tools(board)
    done = subprocess.run(["make", "-s", "-C", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower() or "overflow" in line]
        raise DataError(f"--build: make failed in {folder}: {' '.join(said[-1:] or done.stderr.splitlines()[-1:])}")
    image = folder / "build" / ("firmware.elf" if board.machine else "libmodel.a")
    tools = board.compiler.removesuffix("gcc") if board.machine else ""
    held = symbols(image, tools)
    for block in report.blocks:
        if held.get(block.symbol) != block.nbytes:
            raise PlanError(
                f"{image.name}: expected {block.nbytes} bytes of {block.symbol}, got {held.get(block.symbol)}"
            )
    return replace(report, code_bytes=_code(image, tools, board, report))


def symbols(image: Path, tools: str) -> Mapping[str, int]:
    """Bytes of every symbol of an image or library; `tools` is the prefix of the binary utilities."""
    listed = subprocess.run([f"{tools}nm", "-S", str(image)], capture_output=True, text=True, check=True).stdout
    rows = (line.split() for line in listed.splitlines())
    return {row[3]: int(row[1], 16) for row in rows if len(row) == 4}


def sections(image: Path, tools: str) -> Mapping[str, int]:
    """Bytes of every section; of a library, of all its members together."""
    listed = subprocess.run([f"{tools}size", "-A", str(image)], capture_output=True, text=True, check=True).stdout
    found: dict[str, int] = {}
    for row in (line.split() for line in listed.splitlines()):
        if len(row) == 3 and row[0].startswith("."):
            found[row[0]] = found.get(row[0], 0) + int(row[1])
    return found


def _code(image: Path, tools: str, board: Board, report: ExportReport) -> int:
    """Bytes of flash beside the tables: code, strings, and what starts up."""
    found = sections(image, tools)
    if board.machine and sum(found.get(name, 0) for name in _RAM_SECTIONS) != report.ram_bytes:
        got = {name: found.get(name, 0) for name in _RAM_SECTIONS}
        raise PlanError(f"{image.name}: expected {report.ram_bytes} bytes of {RAM}, got {got}")
    flash = sum(n for name, n in found.items() if name.startswith(_FLASH_SECTIONS))
    tables = sum(block.nbytes for block in report.blocks if block.memory == FLASH)
    return flash - tables
