"""An artifact becomes a C11 project for a microcontroller: tables, straight-line calls of kernels, one static arena."""

from __future__ import annotations

from pathlib import Path

from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.size import parse_size
from calibrant.core.task import CLASSES
from calibrant.engine import Engine
from calibrant.export import firmware, image, project
from calibrant.export.boards import BOARDS, Board, board
from calibrant.export.firmware import UPDATERS
from calibrant.export.readme import readme
from calibrant.export.report import Block, ExportReport, check
from calibrant.export.spec import ExportOptions
from calibrant.plan import picture as draw

__all__ = ["BOARDS", "UPDATERS", "Block", "Board", "ExportOptions", "ExportReport", "board", "export"]


def export(
    artifact: Artifact,
    board_name: str,
    ram: int | str,
    updater: str,
    folder: Path | str,
    *,
    options: ExportOptions | None = None,
    force: bool = False,
    build: bool = False,
    picture: Path | str | None = None,
) -> ExportReport:
    """Write a C project that computes bit for bit what a session computes.

    Parameters
    ----------
    artifact : Artifact
    board_name : str
        One of `BOARDS`.
    ram : int or str
        Limit in bytes for everything that changes, stack included; see `core.size.parse_size`.
    updater : str
        One of `UPDATERS`: 'sparse' trains, 'flip' moves single integers, 'affine' corrects channels without labels,
        'none' only infers.
    folder : Path or str
        Created; it appears whole or not at all.
    options : ExportOptions, optional
        What is asked of the updater.
    force : bool
        Replace an exported project.
    build : bool
        Compile it too; the image is held against the report, which then has the bytes of code.
    picture : Path or str, optional
        Draw the arena of firmware that trains over its steps; needs matplotlib.

    Returns
    -------
    ExportReport

    Raises
    ------
    DataError
        An artifact of another task than classes, an unknown board or updater, a folder that is in the way, nothing to
        build with, or nothing to draw.
    BudgetError
        It does not fit; says by how much and what would.
    ModelError
        What should be trained has no gradient, or the scheme does not fit.
    PlanError
        The artifact's program or constants are invalid.
    """
    if artifact.task != CLASSES:  # c/session decodes, judges and learns classes
        raise DataError(f"export: expected an artifact of task {CLASSES!r}, got {artifact.task!r}")
    target, limit, folder = board(board_name), parse_size(ram), Path(folder)
    project.check_target(folder, force)
    if build:
        image.check_tools(target)
    Engine(artifact.program, artifact.constants, "ref")  # refuses what could read or write out of bounds
    asked = options or ExportOptions()
    made = firmware.compose(artifact, target, limit, updater, asked)
    report, step = made.report, made.design.training
    if picture is not None and step is None:
        raise DataError(f"--picture: shows the steps of firmware that trains, this is of updater {updater}")
    over = report.ram_bytes > report.ram_limit
    check(report, target, firmware.alternatives(artifact, target, report, asked) if over else ())
    marks = project.board_makefile(target, made.compiled, made.stream, report)
    with project.staging(folder) as staged:
        for name, text in {**made.files, project.MARK: marks}.items():
            (staged / name).write_text(text, encoding="utf-8")
        project.copy(staged, {**made.copies, **project.port_copies(target)})
        if build:
            report = image.build(staged, target, report)
        if picture is not None and step is not None:
            draw(step, made.design.program, picture, f"{folder.name}: arena of one training step")
        (staged / "README.md").write_text(readme(artifact, target, report), encoding="utf-8")
    return report
