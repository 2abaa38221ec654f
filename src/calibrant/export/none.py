"""The design of a firmware that only infers: everything but the arena lies in flash."""

from __future__ import annotations

from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.export import model
from calibrant.export.boards import Board
from calibrant.export.spec import ExportOptions, FirmwareSpec, planned


def design(artifact: Artifact, board: Board, room: int, options: ExportOptions) -> FirmwareSpec:
    """The design; `room` are bytes of RAM without the stack.

    Raises
    ------
    DataError
        Anything is asked for.
    """
    for name, value in vars(options).items():
        if value is not None:
            raise DataError(f"--{name}: firmware that does not adapt has none; choose --updater flip, sparse or affine")
    program = planned(artifact.program, room)
    text = model.Text()
    text.memory("uint8_t", "arena", program.arena_bytes, 1, "arena", "arena of activations")
    model.define_parameters(text, artifact)
    model.define_tables(text, artifact, program, board.pointer_bytes, {})
    return FirmwareSpec(program, text, model.forward(program, board.kernels), model.kernels(program, board.kernels))
