"""An artifact and a board become the texts, sources and byte table of a firmware; nothing is written yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.records import Program
from calibrant.core.version import VERSION
from calibrant.export import model
from calibrant.export.boards import Board
from calibrant.export.report import ExportReport
from calibrant.export.sources import HEADERS
from calibrant.plan.arena import place
from calibrant.plan.check import check as check_plan

UPDATERS = ("none",)


@dataclass(frozen=True)
class Firmware:
    """A project before it is written.

    files : name -> text of generated files; copies : name -> name under the root of the C sources; compiled : the
    names that are compiled, in order.
    """

    report: ExportReport
    files: Mapping[str, str]
    copies: Mapping[str, str]
    compiled: tuple[str, ...]


def without_scratch(program: Program) -> Program:
    """The program planned anew: portable kernels need no scratch."""
    ops = tuple(replace(op, attrs={**op.attrs, "scratch_offset": 0, "scratch_bytes": 0}) for op in program.ops)
    planned = place(program.tensors, ops, program.layers, program.input, program.output)
    check_plan(planned)
    return planned


def compose(artifact: Artifact, board: Board, ram: int, updater: str, window: int | None) -> Firmware:
    """The firmware of a checked artifact.

    Raises
    ------
    DataError
        An unknown updater, an option that the updater has no use for, or more RAM than the board has.
    PlanError
        The artifact's program cannot be planned.
    """
    if updater not in UPDATERS:
        raise DataError(f"--updater: expected one of {', '.join(UPDATERS)}, got {updater!r}")
    if updater == "none" and window is not None:
        raise DataError("--window: a firmware that does not adapt has no window; choose --updater flip or sparse")
    program = without_scratch(artifact.program)
    text = model.Text()
    model.define_parameters(text, artifact)
    model.define_tables(text, artifact, program, board.pointer_bytes)
    kernels = model.kernels(program)
    report = ExportReport(
        board=board.name,
        updater=updater,
        ram_limit=board.granted(ram),
        window=window or 0,
        stack_bytes=board.stack_bytes,
        blocks=tuple(text.blocks),
    )
    copies = {f"include/{header}": f"include/{header}" for header in HEADERS}
    copies |= {f"kernels/{kernel}.c": f"ref/{kernel}.c" for kernel in kernels}
    parts = ("inference",)
    for part in parts:
        copies |= {f"firmware/{part}.{kind}": f"ports/firmware/{part}.{kind}" for kind in "hc"}
    compiled = ("model.c", *(f"firmware/{part}.c" for part in parts), *(f"kernels/{kernel}.c" for kernel in kernels))
    return Firmware(report, _files(artifact, program, text, parts), copies, compiled)


def _files(artifact: Artifact, program: Program, text: model.Text, parts: tuple[str, ...]) -> dict[str, str]:
    stamp = f"/* Written by calibrant {VERSION}; export again instead of editing. */\n"
    kernels = "".join(f"void cal_{kernel}_s8__ref(const cal_args *args);\n" for kernel in model.kernels(program))
    return {
        "model.h": (
            f"{stamp}#ifndef CALIBRANT_MODEL_H\n#define CALIBRANT_MODEL_H\n\n"
            f"{model.enumeration(model.sizes(artifact, program))}\n"
            + "".join(f'#include "firmware/{part}.h"\n' for part in parts)
            + "\n#endif\n"
        ),
        "tables.h": (
            f"{stamp}#ifndef CALIBRANT_TABLES_H\n#define CALIBRANT_TABLES_H\n\n"
            f'#include "calibrant/kernel.h"\n#include "model.h"\n\n'
            f"{model.enumeration(model.places(program))}"
            f"#define CALIBRANT_INPUT_SCALE {model.input_scale(program)}\n\n"
            f"{''.join(text.declarations)}\nvoid calibrant_forward(void); /* arena to arena */\n\n#endif\n"
        ),
        "model.c": f'{stamp}#include "tables.h"\n\n{kernels}\n{"".join(text.parts)}\n{model.forward(program)}',
    }
