"""An artifact and a board become the texts, sources and byte table of a firmware; nothing is written yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.version import VERSION
from calibrant.export import affine, flip, model, none, sparse
from calibrant.export.boards import BOARDS, Board
from calibrant.export.report import ExportReport
from calibrant.export.sources import HEADERS, headers
from calibrant.export.spec import ExportOptions, FirmwareSpec, planned

UPDATERS: Mapping[str, Callable[[Artifact, Board, int, ExportOptions], FirmwareSpec]] = {
    "sparse": sparse.design,
    "flip": flip.design,
    "affine": affine.design,
    "none": none.design,
}


@dataclass(frozen=True)
class Firmware:
    """A project before it is written.

    files : name -> text of generated files; copies : name -> name under the root of the C sources; compiled : the
    names that are compiled, in order; stream : those of the program around the model beside its main file; design :
    what it was made from.
    """

    report: ExportReport
    files: Mapping[str, str]
    copies: Mapping[str, str]
    compiled: tuple[str, ...]
    stream: tuple[str, ...]
    design: FirmwareSpec


def compose(artifact: Artifact, board: Board, ram: int, updater: str, options: ExportOptions) -> Firmware:
    """The firmware of a checked artifact; whether it fits is for `report.check` to say.

    Raises
    ------
    DataError
        An unknown updater, one that the artifact does not support, an option that it has no use for, or more RAM than
        the board has.
    ModelError, PlanError
        The artifact's program cannot be trained or planned.
    """
    if updater not in UPDATERS:
        raise DataError(f"--updater: expected one of {', '.join(UPDATERS)}, got {updater!r}")
    granted = board.granted(ram)
    made = UPDATERS[updater](artifact, board, granted - board.stack_bytes, options)
    report = ExportReport(
        board=board.name,
        updater=updater,
        ram_limit=granted,
        window=made.window,
        stack_bytes=board.stack_bytes,
        blocks=tuple(made.text.blocks),
    )
    compiled = {f"firmware/{part}.c": f"firmware/{part}.c" for part in (*made.parts, *made.private)}
    compiled |= made.kernel_files
    compiled |= {f"{name}.c": f"{name}.c" for name in made.sources}
    copies = {f"include/{header}": f"include/{header}" for header in (*HEADERS, *made.headers)}
    copies |= {f"kernels/{header.removeprefix('simd/')}": header for header in headers(board.kernels)}
    own_headers = (*made.parts, *made.private, *made.private_headers)
    copies |= {f"firmware/{part}.h": f"firmware/{part}.h" for part in own_headers}
    copies |= {name: name for name in made.source_headers}
    stream = (f"stream_{updater}.c", *(("stream_slots.c",) if made.adapts else ()))
    copies |= {f"port/{name}": f"ports/{name}" for name in ("stream.c", "stream.h", *stream)}
    adapting = tuple(f"port/{name}" for name in stream)
    return Firmware(report, _files(made), {**copies, **compiled}, ("model.c", *compiled), adapting, made)


def alternatives(artifact: Artifact, board: Board, report: ExportReport, options: ExportOptions) -> list[str]:
    """What could be asked for instead of a firmware that needs more RAM than granted: options and their bytes."""
    needed, room = report.ram_bytes, report.ram_limit - report.stack_bytes
    found = []
    if board.ram is None or needed <= board.ram.nbytes:
        found.append(f"--ram {needed}")
    else:
        larger = [other.name for other in BOARDS.values() if other.ram is not None and other.ram.nbytes >= needed]
        found += [f"--board {name} --ram {needed}" for name in larger[:1]]
    if report.updater == "flip":
        program, block = planned(artifact.program), flip.block_of(artifact, options)
        window = flip.most_samples(artifact, program, board, room, report.window - 1, block)
        found += [f"--window {window}"] if window else []
        if not block and flip.ram_bytes(artifact, program, board, report.window, flip.USUAL_BLOCK) <= room:
            found.append(f"--block {flip.USUAL_BLOCK}")
    if report.updater == "affine":
        window = affine.most_samples(planned(artifact.program), board, room)
        found += [f"--window {window}"] if window else []
    for updater in list(UPDATERS)[list(UPDATERS).index(report.updater) + 1 :]:
        try:
            blocks = UPDATERS[updater](artifact, board, room, ExportOptions()).text.blocks
        except DataError:  # this artifact does not have it
            continue
        other = replace(report, updater=updater, blocks=tuple(blocks)).ram_bytes
        found += [f"--updater {updater} ({other:,})"] if other <= report.ram_limit else []
    return found


def _files(made: FirmwareSpec) -> dict[str, str]:
    stamp = f"/* Written by calibrant {VERSION}; export again instead of editing. */\n"
    kernels = [f"void {kernel.symbol}(const cal_args *args);\n" for kernel in made.kernels]
    kernels += [f"cal_training_kernel cal_{name}_f32__ref;\n" for name in made.training_kernels]
    parts = "".join(f'#include "firmware/{part}.h"\n' for part in made.parts)
    included = "".join(f'#include "{name}"\n' for name in ("calibrant/kernel.h", *made.includes, "model.h"))
    macros = {"INPUT_SCALE": model.input_scale(made.program), **made.macros}
    defined = "".join(f"#define CALIBRANT_{name} {value}\n" for name, value in macros.items())
    declared = "".join(made.text.types + made.text.declarations)
    prototypes = "\n".join(("void calibrant_forward(void); /* arena to arena */", *made.prototypes))
    return {
        "model.h": (
            f"{stamp}#ifndef CALIBRANT_MODEL_H\n#define CALIBRANT_MODEL_H\n\n"
            f"{model.enumeration({**model.sizes(made.program), **made.sizes})}\n{parts}\n#endif\n"
        ),
        "tables.h": (
            f"{stamp}#ifndef CALIBRANT_TABLES_H\n#define CALIBRANT_TABLES_H\n\n{included}\n"
            f"{model.enumeration(model.places(made.program))}{defined}\n{declared}\n{prototypes}\n\n#endif\n"
        ),
        "model.c": f'{stamp}#include "tables.h"\n\n{"".join(kernels)}\n{"".join(made.text.parts)}\n{made.functions}',
    }
