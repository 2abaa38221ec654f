"""An artifact and a board become the texts, sources and byte table of a firmware; nothing is written yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.version import VERSION
from calibrant.export import flip, model, none
from calibrant.export.boards import BOARDS, Board
from calibrant.export.design import Design, planned
from calibrant.export.report import ExportReport
from calibrant.export.sources import HEADERS

UPDATERS: Mapping[str, Callable[[Artifact, Board, int, int | None], Design]] = {
    "flip": flip.design,
    "none": none.design,
}


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


def compose(artifact: Artifact, board: Board, ram: int, updater: str, window: int | None) -> Firmware:
    """The firmware of a checked artifact; whether it fits is for `report.check` to say.

    Raises
    ------
    DataError
        An unknown updater, one that the artifact does not support, an option that it has no use for, or more RAM than
        the board has.
    PlanError
        The artifact's program cannot be planned.
    """
    if updater not in UPDATERS:
        raise DataError(f"--updater: expected one of {', '.join(UPDATERS)}, got {updater!r}")
    granted = board.granted(ram)
    made = UPDATERS[updater](artifact, board, granted - board.stack_bytes, window)
    report = ExportReport(
        board=board.name,
        updater=updater,
        ram_limit=granted,
        window=made.window,
        stack_bytes=board.stack_bytes,
        blocks=tuple(made.text.blocks),
    )
    copies = {f"include/{header}": f"include/{header}" for header in (*HEADERS, *made.headers)}
    copies |= {f"firmware/{part}.{kind}": f"ports/firmware/{part}.{kind}" for part in made.parts for kind in "hc"}
    compiled = {f"kernels/{name}.c": f"ref/{name}.c" for name in made.kernels}
    compiled |= {f"device/{name}.c": f"device/{name}.c" for name in made.device}
    copies |= compiled
    copies |= {f"device/{name}": f"device/{name}" for name in made.device_headers}
    adapt = f"stream_{updater}.c"
    copies |= {"port/stream.c": "ports/stream.c", "port/stream.h": "ports/stream.h", f"port/{adapt}": f"ports/{adapt}"}
    sources = ("model.c", *(f"firmware/{part}.c" for part in made.parts), *compiled)
    return Firmware(report, _files(made), copies, sources)


def alternatives(artifact: Artifact, board: Board, report: ExportReport) -> list[str]:
    """What could be asked for instead of a firmware that needs more RAM than granted: options and their bytes."""
    needed, room = report.ram_bytes, report.ram_limit - report.stack_bytes
    found = []
    if board.ram is None or needed <= board.ram.nbytes:
        found.append(f"--ram {needed}")
    else:
        larger = [other.name for other in BOARDS.values() if other.ram is not None and other.ram.nbytes >= needed]
        found += [f"--board {name} --ram {needed}" for name in larger[:1]]
    if report.updater == "flip":
        window = flip.most_samples(artifact, planned(artifact.program), board, room, report.window - 1)
        found += [f"--window {window}"] if window else []
    for updater in ("flip", "none"):
        if list(UPDATERS).index(updater) > list(UPDATERS).index(report.updater):
            blocks = UPDATERS[updater](artifact, board, room, None).text.blocks
            other = replace(report, updater=updater, blocks=tuple(blocks)).ram_bytes
            found += [f"--updater {updater} ({other:,})"] if other <= report.ram_limit else []
    return found


def _files(made: Design) -> dict[str, str]:
    stamp = f"/* Written by calibrant {VERSION}; export again instead of editing. */\n"
    kernels = "".join(f"void cal_{kernel}_s8__ref(const cal_args *args);\n" for kernel in made.kernels)
    parts = "".join(f'#include "firmware/{part}.h"\n' for part in made.parts)
    return {
        "model.h": (
            f"{stamp}#ifndef CALIBRANT_MODEL_H\n#define CALIBRANT_MODEL_H\n\n"
            f"{model.enumeration({**model.sizes(made.program), **made.sizes})}\n{parts}\n#endif\n"
        ),
        "tables.h": (
            f"{stamp}#ifndef CALIBRANT_TABLES_H\n#define CALIBRANT_TABLES_H\n\n"
            f'#include "calibrant/kernel.h"\n#include "model.h"\n\n{model.enumeration(model.places(made.program))}'
            f"#define CALIBRANT_INPUT_SCALE {model.input_scale(made.program)}\n\n{''.join(made.text.types)}"
            f"{''.join(made.text.declarations)}\nvoid calibrant_forward(void); /* arena to arena */\n\n#endif\n"
        ),
        "model.c": f'{stamp}#include "tables.h"\n\n{kernels}\n{"".join(made.text.parts)}\n{made.forward}',
    }
