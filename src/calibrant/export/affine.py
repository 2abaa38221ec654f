"""The design of a firmware that corrects its channels without labels: what c/session/correction.c needs, counted.

Constants of all layers but the last lie in RAM, beside what windows said of their channels; weights stay in flash. The
window is measured layer after layer in the arena of inference, so that it takes no memory but its samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibrant import _engine
from calibrant.artifact import Artifact
from calibrant.artifact.write import content_hash
from calibrant.core.errors import DataError
from calibrant.core.fixedpoint import MAX_SHIFT
from calibrant.core.program import Op, Program
from calibrant.export import model, signs, slots, sources, tables
from calibrant.export.boards import Board
from calibrant.export.records import record_bytes
from calibrant.export.report import IMAGE_ALIGNMENT, aligned
from calibrant.export.slots import Part, define_slots
from calibrant.export.spec import ExportOptions, FirmwareSpec, planned
from calibrant.updaters.affine_correction import REMEMBERED, REMEMBERED_FROM_HOME, AffineCorrection

USUAL_WINDOW = 40  # samples, as for flips
MOST_SAMPLES = 2**10 - 1  # 2^10 samples of 2^23 positions: sums of squares up to 2^30 would reach 2^63
LARGEST = 2.0**40  # of what is remembered, as `session.domain` has it
_ALIGNMENT = 4  # of accumulators
_CONSTANTS = ("bias", "multiplier", "shift")
_MEMORY = ("samples", "mean", "square")
_SOURCES = (*slots.SOURCES, "session/correction", "session/moments", "updaters/affine_correction")


@dataclass(frozen=True)
class Sizes:
    """Of a firmware: corrected channels, the most of one layer, bytes of a sample, samples of the window."""

    channels: int
    widest: int
    sample: int
    window: int

    @classmethod
    def of(cls, program: Program, window: int) -> Sizes:
        """For a program of two layers or more."""
        layers = program.layers
        widest = max(layer.c_out for layer in layers[:-1])
        return cls(layers[-1].channel_offset, widest, program.tensors[program.input].nbytes, window)


def design(artifact: Artifact, board: Board, room: int, options: ExportOptions) -> FirmwareSpec:
    """The design; `room` are bytes of RAM without the stack.

    Without a window asked for it is the largest that fits, up to `USUAL_WINDOW`.

    Raises
    ------
    DataError
        The artifact does not say what home is, its network has one layer, or something is asked for that this updater
        has no use for.
    """
    for name in ("block", "scheme", "batch"):
        if getattr(options, name) is not None:
            raise DataError(f"--{name}: a firmware that corrects has no use for it; leave it out")
    signs.refuse(artifact.program, "affine")
    AffineCorrection.of(artifact)  # refuses an artifact without home
    if len(artifact.program.layers) < 2:
        raise DataError("--updater affine: expected two layers or more, for the last is not corrected; got one")
    program = planned(artifact.program)
    fits = options.window or most_samples(program, board, room)
    if fits > MOST_SAMPLES:
        raise DataError(f"--window: expected at most {MOST_SAMPLES:,} samples, got {fits:,}")
    sizes = Sizes.of(program, max(1, fits))
    return FirmwareSpec(
        program,
        _text(artifact, program, board, sizes),
        model.forward(program, board.kernels, lambda at, layer: _measured(program, board, at, layer)),
        model.kernels(program, board.kernels),
        parts=("inference", "correction"),
        private=("storage",),
        sources=_SOURCES,
        source_headers=("session/slots.h", "session/moments.h", "updaters/affine_correction.h"),
        headers=("calibrant/calibration.h", "calibrant/correction.h", "calibrant/fmath.h"),
        sizes={
            "WINDOW": sizes.window,
            "CORRECTED": sizes.channels,
            **slots.sizes(_parts(sizes.channels)),
        },
        window=sizes.window,
        adapts=True,
    )


def arena_bytes(program: Program) -> int:
    """The program's arena, longer where no op of a corrected layer has room for a piece of its accumulators beside its
    input, see c/session/moments.c."""
    last = len(program.layers) - 1
    return max(program.arena_bytes, *(_reach(program, op) for op in program.ops if 0 <= op.layer != last))


def _reach(program: Program, op: Op) -> int:
    """Bytes of arena, if a piece must lie behind the op's input."""
    source, output, at = program.tensors[op.inputs[0]], program.tensors[op.output], program.offsets[op.inputs[0]]
    piece = 4 * output.channels * (1 if source.height == output.height == 1 else output.width)
    return 0 if at >= piece else aligned(at + source.nbytes, _ALIGNMENT) + piece


def ram_bytes(program: Program, board: Board, window: int) -> int:
    """RAM, without the stack, of the planned program with a window of so many samples."""
    sizes = Sizes.of(program, window)
    own = 4 * sizes.channels
    blocks = (arena_bytes(program), *(own for _ in (*_CONSTANTS, *_MEMORY)), 4, window * sizes.sample,
              16 * sizes.widest, record_bytes("cal_corrector", board.pointer_bytes))  # fmt: skip
    return aligned(sum(aligned(nbytes) for nbytes in blocks), IMAGE_ALIGNMENT)


def most_samples(program: Program, board: Board, room: int) -> int:
    """The largest window up to `USUAL_WINDOW` that fits, 0 if none does."""
    return next((n for n in range(USUAL_WINDOW, 0, -1) if ram_bytes(program, board, n) <= room), 0)


def _parts(channels: int) -> list[Part]:
    """Constants, then what is remembered."""
    places = {name: (f"calibrant_{name}", f"calibrant_corrected_{name}") for name in _CONSTANTS}
    return [
        Part.biases(*places["bias"], channels),
        Part(*places["multiplier"], channels, 32, 0, 2**31 - 1),
        Part(*places["shift"], channels, 32, 1, MAX_SHIFT),
        Part.reals("calibrant_seen_samples", channels, REMEMBERED_FROM_HOME),
        *(Part.reals(f"calibrant_seen_{name}", channels, LARGEST) for name in _MEMORY[1:]),
        Part("calibrant_usual_limit", "calibrant_seen_limit", 1, 32, REMEMBERED, REMEMBERED_FROM_HOME),
    ]


def _text(artifact: Artifact, program: Program, board: Board, sizes: Sizes) -> model.Text:
    text, home, channels = model.Text(), artifact.home, sizes.channels
    assert home is not None
    arena = arena_bytes(program)
    text.memory("uint8_t", "arena", arena, 1, "arena", "arena of activations")
    for name in _CONSTANTS:
        text.memory("int32_t", f"corrected_{name}", channels, 4, "mutable", "constants in force")
    for name in _MEMORY:
        text.memory("float", f"seen_{name}", channels, 4, "mutable", "what windows said of channels")
    text.memory("int32_t", "seen_limit", 1, 4, "mutable", "what windows said of channels")
    text.memory("int8_t", "window_x", sizes.window * sizes.sample, 1, "samples", f"window of {sizes.window} samples")
    text.memory("int64_t", "sums", 2 * sizes.widest, 8, "workspace", "sums of pre-activations")
    text.types.append("typedef struct { _Alignas(16) cal_corrector corrector; } calibrant_corrector;\n")
    text.record("calibrant_corrector", "state", record_bytes("cal_corrector", board.pointer_bytes), "workspace",
                "state of the updater")  # fmt: skip
    model.define_parameters(text, artifact)
    text.constant("usual_limit", np.array([REMEMBERED], np.int32), "what windows said of channels")
    for name in ("mean", "variance", "mean_spread", "square_spread"):
        text.constant(f"home_{name}", getattr(home, name)[:channels], "pre-activations at home")
    model.define_tables(text, artifact, program, board.pointer_bytes, _corrected(program))
    define_slots(text, _parts(channels), bytes.fromhex(content_hash(artifact)), board)
    model.define_program(text, program, board.pointer_bytes)
    text.records("cal_corrector", "setup", [tables.record(_setup(sizes, arena))], board.pointer_bytes)
    return text


def _corrected(program: Program) -> dict[int, dict[str, str]]:
    """C expressions of the constants of every corrected layer."""
    return {
        i: {name: f"calibrant_corrected_{name} + {layer.channel_offset}" for name in _CONSTANTS}
        for i, layer in enumerate(program.layers[:-1])
    }


def _measured(program: Program, board: Board, at: int, layer: int) -> tuple[str, str]:
    """Whether inference ends before a layer, for its moments were wanted."""
    if layer == len(program.layers) - 1:
        return "", ""
    kernel = sources.kernel(program, program.ops[at], board.kernels).symbol
    given = f"&calibrant_state.corrector, {kernel}, &calibrant_calls[{at}]"
    return f"    if (cal_corrector_measures({given})) return;\n", ""


def _setup(sizes: Sizes, arena: int) -> dict[str, object]:
    """What the state starts with."""
    home = {name: f"calibrant_{name}" for _, name, _ in _engine.RECORDS["cal_corrector"] if name.startswith("home_")}
    return {
        "program": "calibrant_program",
        "constants": "calibrant_constants",
        "channels": sizes.channels,
        **home,
        "mean_spread": "calibrant_home_mean_spread",
        "square_spread": "calibrant_home_square_spread",
        **{name: f"calibrant_corrected_{name}" for name in _CONSTANTS},
        **{name: f"calibrant_seen_{name}" for name in (*_MEMORY, "limit")},
        "window_x": "calibrant_window_x",
        "window_capacity": sizes.window,
        "sums": "calibrant_sums",
        "arena": "calibrant_arena",
        "arena_bytes": arena,
    }
