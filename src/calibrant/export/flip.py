"""The design of a firmware that adapts by guarded flips: what c/session and c/updaters need, filled in and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibrant.artifact import THRESHOLDS, Artifact
from calibrant.artifact.write import content_hash
from calibrant.core.errors import DataError
from calibrant.core.program import Layer, Program
from calibrant.export import model, signs, slots, tables
from calibrant.export.boards import Board
from calibrant.export.records import record_bytes
from calibrant.export.report import IMAGE_ALIGNMENT, aligned
from calibrant.export.slots import Part, define_slots
from calibrant.export.spec import ExportOptions, FirmwareSpec, planned, require_coreset
from calibrant.memory.replay import ReplayBuffer
from calibrant.policy.verification import split

USUAL_WINDOW = 40  # from here on some samples are held back to verify on
USUAL_BLOCK = 64  # pairs of channels, as `updaters.block_flips` has it
_SOURCES = (*slots.SOURCES, "session/calibration", "session/evaluation", "session/layout", "session/sha256",
            "session/verification", "updaters/block_flips", "updaters/block_statistics", "updaters/gradient",
            "updaters/guarded_flips", "updaters/moves", "updaters/proposal", "updaters/statistics")  # fmt: skip


@dataclass(frozen=True)
class Needs:
    """Bytes in RAM: `fixed` memory of the updater, between `least` and `most` for statistics, and a workspace."""

    fixed: int
    least: int
    most: int
    workspace: int


def needs(program: Program, coreset: int, window: int, block: int, artifact: Artifact) -> Needs:
    """As c/session counts them, see calibrant/calibration.h; `coreset` and `window` in samples, `block` 0 for all
    layers at once."""
    held = split(window, _limits(artifact)["holdout"])[1].size
    if block:
        return Needs(_block_bytes(program.layers, block, window, held), 0, 0, 8 * window)
    channels = program.channel_count if artifact.settings.bias else 0
    slopes = sum(layer.c_out * (layer.c_in // layer.groups) for layer in program.layers)
    undo = sum(n.weight_count if n.bits == 8 else -(-n.weight_count // 8) for n in program.layers)
    bits = -(-window // 8) + len(program.layers)
    fixed = aligned(8 * channels, 8) + aligned(4 * held, 8) + aligned(3 * slopes + undo + bits, 8)
    classes = program.tensors[program.output].channels
    records = [_statistics(program, i) for i in range(len(program.layers))]
    head, samples = 2 * (classes + 1), window + coreset
    widest = 8 * max(layer.c_out for layer in program.layers)
    return Needs(fixed, samples * (head + max(records)), samples * (head + sum(records)),
                 max(1024, 8 * window, 4 * samples, widest))  # fmt: skip


def _block_bytes(layers: Sequence[Layer], block: int, window: int, held: int) -> int:
    rows = entries = undo = 0
    for layer in layers:
        depth, taps = layer.c_in // layer.groups, layer.kernel_h * layer.kernel_w
        height, width = min(layer.c_out, max(1, block // depth)), min(block, depth)
        rows, entries = max(rows, height), max(entries, height * width)
        weights = height * width * taps
        undo = max(undo, weights if layer.bits == 8 else -(-weights // 8))
    return aligned(10 * entries + 14 * rows + 8 + 4 * held + undo + -(-entries // 8) + -(-window // 8), 8)


def _statistics(program: Program, index: int) -> int:
    """Bytes of a sample's statistics of a layer."""
    layer = program.layers[index]
    output = next(program.tensors[op.output] for op in program.ops if op.layer == index)
    width = 0 if output.bits == 32 else 1 if output.height * output.width <= 255 else 2
    return 2 * layer.c_in + aligned(layer.c_out * width, 2)


def _parts(program: Program) -> list[Part]:
    """Layer by layer the weights, then all biases."""
    found = [Part(f"calibrant_weights + {n.weight_offset}", f"calibrant_trained_weights + {n.weight_offset}",
                  n.weight_count, n.bits) for n in program.layers]  # fmt: skip
    return [*found, Part.biases("calibrant_bias", "calibrant_trained_bias", program.channel_count)]


def design(artifact: Artifact, board: Board, room: int, options: ExportOptions) -> FirmwareSpec:
    """The design; `room` are bytes of RAM without the stack. What remains of it serves the statistics, up to all.

    Without a window asked for it is the largest that fits, up to `USUAL_WINDOW`.

    Raises
    ------
    DataError
        The coreset is empty, so nothing could be verified, a layer is binary, or something is asked for that flips have
        no use for.
    """
    if options.scheme is not None or options.batch is not None:
        raise DataError("--scheme, --batch: expected with --updater sparse, got --updater flip")
    require_coreset(artifact, "flip")
    signs.refuse(artifact.program, "flip")
    program, pool = planned(artifact.program), ReplayBuffer.of(artifact.coreset)
    block = block_of(artifact, options)
    if not 0 <= block < 2**16:
        raise DataError(f"--block: expected 1 to 65,535 pairs of channels, got {block}")
    fits = options.window or most_samples(artifact, program, board, room, USUAL_WINDOW, block)
    window = max(1, fits)
    found = needs(program, len(pool), window, block, artifact)
    left = max(0, room // IMAGE_ALIGNMENT * IMAGE_ALIGNMENT - ram_bytes(artifact, program, board, window, block))
    statistics = min(aligned(found.least, 8) + left, aligned(found.most, 8))
    text, parts = model.Text(), _parts(program)
    arena = max(program.arena_bytes, found.workspace)
    text.memory("uint8_t", "arena", arena, 1, "arena", "arena of activations")
    text.memory("int8_t", "trained_weights", program.weight_count, 1, "mutable", "weights in force")
    text.memory("int32_t", "trained_bias", program.channel_count, 4, "mutable", "biases in force")
    text.memory("int8_t", "window_x", window * _sample(program), 1, "samples", f"window of {window} samples")
    text.memory("uint16_t", "window_y", window, 2, "samples", "classes of the window")
    text.memory("uint8_t", "gradients", found.fixed + statistics, 1, "workspace", "gradients and statistics")
    text.types.append("typedef struct { _Alignas(16) cal_calibrator calibrator; } calibrant_calibrator;\n")
    text.record("calibrant_calibrator", "state", record_bytes("cal_calibrator", board.pointer_bytes), "workspace",
                "state of the updater")  # fmt: skip
    model.define_parameters(text, artifact)
    text.constant("weight_scale", artifact.constants.scale, "weight scales")
    text.constant("feedback", artifact.feedback.matrix, "feedback")
    text.constant("coreset_x", pool.x, "coreset")
    text.constant("coreset_y", pool.y.astype(np.uint16), "classes of the coreset")
    placed = {
        i: {"weights": f"calibrant_trained_weights + {n.weight_offset}",
            "bias": f"calibrant_trained_bias + {n.channel_offset}"}
        for i, n in enumerate(program.layers)
    }  # fmt: skip
    model.define_tables(text, artifact, program, board.pointer_bytes, placed)
    define_slots(text, parts, bytes.fromhex(content_hash(artifact)), board)
    _define_setup(text, artifact, program, board, (window, len(pool), statistics, block))
    sizes = {
        "WINDOW": window,
        "WEIGHTS": program.weight_count,
        "BIASES": program.channel_count,
        **slots.sizes(parts),
    }
    return FirmwareSpec(
        program,
        text,
        model.forward(program, board.kernels, _sensed),
        model.kernels(program, board.kernels),
        parts=("inference", "calibration"),
        private=("storage",),
        sources=_SOURCES,
        source_headers=(*slots.SOURCE_HEADERS, "session/calibrator.h", "updaters/gradient.h", "updaters/moves.h"),
        headers=("calibrant/calibration.h", "calibrant/fmath.h"),
        sizes=sizes,
        window=window,
        adapts=True,
    )


def block_of(artifact: Artifact, options: ExportOptions) -> int:
    """Pairs of channels whose weights a step moves: as asked for, else as the artifact's form says; 0 for all."""
    if options.block is not None:
        return options.block
    return USUAL_BLOCK if artifact.settings.form == "blocks" else 0


def ram_bytes(artifact: Artifact, program: Program, board: Board, window: int, block: int) -> int:
    """The least RAM, without the stack, that the planned program needs with a window of so many samples."""
    found = needs(program, len(ReplayBuffer.of(artifact.coreset)), window, block, artifact)
    blocks = (
        max(program.arena_bytes, found.workspace),
        program.weight_count,
        4 * program.channel_count,
        window * _sample(program),
        2 * window,
        found.fixed + aligned(found.least, 8),
        record_bytes("cal_calibrator", board.pointer_bytes),
    )
    return aligned(sum(aligned(nbytes) for nbytes in blocks), IMAGE_ALIGNMENT)


def most_samples(artifact: Artifact, program: Program, board: Board, room: int, limit: int, block: int) -> int:
    """The largest window up to `limit` that fits, 0 if none does."""
    return next((n for n in range(limit, 0, -1) if ram_bytes(artifact, program, board, n, block) <= room), 0)


def _sample(program: Program) -> int:
    return program.tensors[program.input].nbytes


def _limits(artifact: Artifact) -> dict[str, float]:
    return {**THRESHOLDS, **artifact.thresholds}


def _sensed(at: int, layer: int) -> tuple[str, str]:
    state = "&calibrant_state.calibrator"
    return (
        f"    cal_sense_input({state}, {layer}, calibrant_calls[{at}].x[0]);\n",
        f"    cal_sense_output({state}, {layer}, calibrant_calls[{at}].y);\n",
    )


def _define_setup(
    text: model.Text, artifact: Artifact, program: Program, board: Board, counts: tuple[int, int, int, int]
) -> None:
    """The records that c/session reads: program, constants, and what its state starts with."""
    window, coreset, statistics, block = counts
    limits, settings = _limits(artifact), artifact.settings
    model.define_program(text, program, board.pointer_bytes)
    numbers: dict[str, object] = {
        "fraction": float(settings.fraction).hex(),
        "fraction_max": float(settings.fraction_max).hex(),
        "loss_goal": float(settings.loss_goal).hex(),
        "coreset_drop": float(limits["coreset_drop"]).hex(),
        "holdout": float(limits["holdout"]).hex(),
        "steps": settings.steps,
        "bias": int(settings.bias),
        "block": block,
    }
    setup = tables.record(
        {
            "program": "calibrant_program",
            "constants": "calibrant_constants",
            "scale": "calibrant_weight_scale",
            "output_scale": tables.number(_output_scale(program)),
            "feedback": "calibrant_feedback",
            "classes": program.tensors[program.output].channels,
            "weights": "calibrant_trained_weights",
            "bias": "calibrant_trained_bias",
            "coreset_x": "calibrant_coreset_x",
            "coreset_y": "calibrant_coreset_y",
            "coreset_count": coreset,
            "window_x": "calibrant_window_x",
            "window_y": "calibrant_window_y",
            "window_capacity": window,
            "settings": tables.record(numbers),
            "memory": "calibrant_gradients",
            "statistics_bytes": statistics,
            "workspace": "calibrant_arena",
        }
    )
    text.records("cal_calibrator", "setup", [setup], board.pointer_bytes)


def _output_scale(program: Program) -> float:
    output = program.tensors[program.output]
    if output.bits == 8:
        return output.scale
    last = next(op for op in program.ops if op.output == program.output)
    return program.tensors[last.inputs[0]].scale
