"""The design of a firmware that trains: the steps of a planned training as straight-line calls over one arena."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

import numpy as np

from calibrant.artifact import THRESHOLDS, Artifact
from calibrant.artifact.write import content_hash
from calibrant.autodiff import Scheme, differentiate, named
from calibrant.core.errors import DataError
from calibrant.core.program import Program
from calibrant.core.training import Training
from calibrant.export import model, slots, sources, tables
from calibrant.export.boards import Board
from calibrant.export.records import record_bytes
from calibrant.export.report import aligned
from calibrant.export.slots import Part, define_slots
from calibrant.export.spec import ExportOptions, FirmwareSpec, require_coreset
from calibrant.export.steps import StepRecords, Storage
from calibrant.memory.replay import ReplayBuffer
from calibrant.plan import schedule
from calibrant.plan.sharing import share
from calibrant.plan.stripes import choose, split

ALIGNMENT = 16  # bytes, of what lies in the arena
_TIMELY = ("loss", "bias_update", "weight_update")  # steps that need the label or a rate
_HEADERS = tuple(f"calibrant/{name}" for name in
                 ("calibration.h", "fmath.h", "training.h", "training.def", "training_kernel.h"))  # fmt: skip
_COMMITS = {"weight": "weight_commit", "bias": "bias_commit"}


def design(artifact: Artifact, board: Board, room: int, options: ExportOptions) -> FirmwareSpec:
    """The design; `room` are bytes of RAM without the stack.

    Raises
    ------
    DataError
        A window or block is asked for, a batch below 1, or there is neither a training step nor a scheme to make one.
    ModelError
        An op that has no gradient, or a scheme that does not fit the network.
    """
    for name in ("window", "block"):
        if getattr(options, name) is not None:
            raise DataError(
                f"--{name}: firmware that trains learns from each sample at once and has none; leave it out"
            )
    batch = 1 if options.batch is None else options.batch
    if batch < 1:
        raise DataError(f"--batch: expected at least 1 sample, got {batch}")
    require_coreset(artifact, "sparse")
    training = trained(artifact, options.scheme)
    storage = Storage.of(training, artifact.program)
    accumulators = training.accumulator_count if batch > 1 else 0
    others = [storage.weight_count, 4 * storage.bias_count, 4 * accumulators, record_bytes("calibrant_learner", 4)]
    program, training = planned(artifact, training, room - sum(map(aligned, others)))
    text = _text(artifact, program, training, storage, accumulators, board)
    kinds = [step.kind for step in training.steps if step.kind != "forward"]
    kinds += [_COMMITS[part.kind] for part in training.slices] if accumulators else []
    names = tuple(dict.fromkeys(kinds))
    forward = model.forward(program, board.kernels, order=[s.op for s in training.steps if s.kind == "forward"])
    limits = {**THRESHOLDS, **artifact.thresholds}
    return FirmwareSpec(
        replace(program, offsets=training.offsets[: len(program.tensors)], arena_bytes=training.arena_bytes),
        text,
        f"{forward}\n{_train(program, training, board.kernels)}\n{_commit(training, accumulators)}",
        model.kernels(program, board.kernels),
        training_kernels=names,
        parts=("inference", "training"),
        private=("storage",),
        sources=slots.SOURCES,
        source_headers=slots.SOURCE_HEADERS,
        private_headers=("step_context",),
        headers=_HEADERS,
        sizes={
            "BATCH": batch,
            "CORESET": len(ReplayBuffer.of(artifact.coreset)),
            "TRAINED_WEIGHTS": storage.weight_count,
            "TRAINED_BIASES": storage.bias_count,
            **slots.sizes(_parts(program, storage)),
        },
        macros={
            "RATE": tables.number(artifact.settings.rate),
            "CORESET_DROP": float(limits["coreset_drop"]).hex(),
        },
        includes=("firmware/step_context.h",),
        prototypes=("void calibrant_train(const calibrant_step_context *now);", "void calibrant_commit(void);",
                    "void calibrant_reset(void);"),
        adapts=True,
        training=training,
    )  # fmt: skip


def trained(artifact: Artifact, scheme: str | None) -> Training:
    """The artifact's training step, or that of a scheme by name."""
    program = artifact.program
    if scheme is not None:
        return differentiate(program, artifact.constants, named(scheme, len(program.layers) - 1))
    if artifact.training is None:
        raise DataError(
            "--updater sparse: the artifact has no training step; prepare it with --form sparse, or give a --scheme"
        )
    return artifact.training


def planned(artifact: Artifact, training: Training, room: int) -> tuple[Program, Training]:
    """Program and training planned for kernels without scratch: the least costly plan that fits, else the smallest.

    The cheapest is the plain one. Depthwise gradients in place cost a copy each; stripes, where no gradient passes,
    compute rows twice.
    """
    ops = tuple(replace(op, attrs={**op.attrs, "scratch_offset": 0, "scratch_bytes": 0}) for op in artifact.program.ops)
    program = replace(artifact.program, ops=ops)
    found: list[tuple[Program, Training]] = []
    for plan in _plans(artifact, training, program, room):
        if plan[1].arena_bytes <= room:
            return plan
        found.append(plan)
    return min(found, key=lambda plan: plan[1].arena_bytes)


def _plans(artifact: Artifact, training: Training, program: Program, room: int) -> Iterator[tuple[Program, Training]]:
    """Planned trainings of the same numbers, from the least costly on."""
    modes = (False, True) if any(step.attrs.get("in_place", 0) for step in share(training, program).steps) else (False,)
    for in_place in modes:
        yield program, schedule(training, program, alignment=ALIGNMENT, in_place=in_place)
    frozen = min((step.op for step in training.steps if step.kind not in ("forward", "loss")), default=len(program.ops))
    stage = choose(program, limit=room, frozen=frozen)
    if not stage.ops:
        return
    striped = split(program, stage.ops, stage.count)
    scaled = not bool(np.all(training.weight_scaling == 1) and np.all(training.bias_scaling == 1))
    again = differentiate(striped, artifact.constants, _scheme(training, program), scaling=scaled)
    if again.slices != training.slices:
        return
    for in_place in modes:
        yield striped, schedule(again, striped, alignment=ALIGNMENT, in_place=in_place)


def _scheme(training: Training, program: Program) -> Scheme:
    """The scheme whose training has these slices."""
    backbone = len(program.layers) - 1
    weights = {part.layer: part.channels or 1.0 for part in training.slices if part.kind == "weight"}
    biases = {part.layer for part in training.slices if part.kind == "bias"}
    head = backbone in weights
    return Scheme(len(biases - {backbone}), {i: part for i, part in weights.items() if i < backbone}, head)


def _text(
    artifact: Artifact, program: Program, training: Training, storage: Storage, accumulators: int, board: Board
) -> model.Text:
    pool, pointer = ReplayBuffer.of(artifact.coreset), board.pointer_bytes
    text = model.Text()
    text.memory("uint8_t", "arena", training.arena_bytes, 1, "arena", "arena of activations and gradients")
    text.memory("int8_t", "trained_weights", max(storage.weight_count, 1), 1, "mutable", "weights of trained layers")
    text.memory("int32_t", "trained_bias", max(storage.bias_count, 1), 4, "mutable", "trained biases")
    if accumulators:
        text.memory("float", "accumulators", accumulators, 4, "workspace", "accumulators of a batch")
    text.record("calibrant_learner", "state", record_bytes("calibrant_learner", pointer), "workspace",
                "state of the updater")  # fmt: skip
    model.define_parameters(text, artifact)
    placed = replace(program, offsets=training.offsets[: len(program.tensors)])
    model.define_tables(text, artifact, placed, pointer, storage.expressions(program))
    text.constant("coreset_x", pool.x, "coreset")
    text.constant("coreset_y", pool.y.astype(np.uint16), "classes of the coreset")
    name = f"{content_hash(artifact)} {[(part.layer, part.kind) for part in training.slices]}"
    define_slots(text, _parts(program, storage), sha256(name.encode()).digest(), board)
    steps = StepRecords(program, training, storage, accumulators > 0)
    for what, first in steps.first_channels.items():
        text.constant(what, getattr(training, what)[first:], f"multipliers of gradients: {what.replace('_', ' ')}")
    channels = np.array([c for part in training.slices for c in part.channels], np.int32)
    if channels.size:
        text.constant("channels", channels, "trained channels")
    text.records("cal_training_args", "steps", steps.backward(), pointer)
    if accumulators:
        text.records("cal_training_args", "commits", steps.commits(), pointer)
    return text


def _parts(program: Program, storage: Storage) -> list[Part]:
    """Trained parameters in the order of storage: all weights, then all biases."""
    layers = program.layers
    weights = [Part(f"calibrant_weights + {layers[i].weight_offset}", f"calibrant_trained_weights + {offset}",
                    layers[i].weight_count, layers[i].bits) for i, offset in storage.weights.items()]  # fmt: skip
    biases = [Part.biases(f"calibrant_bias + {layers[i].channel_offset}", f"calibrant_trained_bias + {offset}",
                          layers[i].c_out) for i, offset in storage.biases.items()]  # fmt: skip
    return [*weights, *biases]


def _train(program: Program, training: Training, variant: str) -> str:
    lines, at = [], -1
    for step in training.steps:
        at += step.kind != "forward"
        if step.kind == "forward":
            kernel = sources.kernel(program, program.ops[step.op], variant)
            lines.append(f"    {kernel.symbol}(&calibrant_calls[{step.op}]);\n")
        elif step.kind in _TIMELY:
            lines.append(f"    calibrant_step(cal_{step.kind}_f32__ref, &calibrant_steps[{at}], now);\n")
        else:
            lines.append(f"    cal_{step.kind}_f32__ref(&calibrant_steps[{at}]);\n")
    return f"void calibrant_train(const calibrant_step_context *now) {{\n{''.join(lines)}}}\n"


def _commit(training: Training, accumulators: int) -> str:
    """What ends a batch, and what forgets one; nothing where every sample updates at once."""
    if not accumulators:
        return "void calibrant_commit(void) {}\n\nvoid calibrant_reset(void) {}\n"
    lines = "".join(f"    cal_{_COMMITS[part.kind]}_f32__ref(&calibrant_commits[{i}]);\n"
                    for i, part in enumerate(training.slices))  # fmt: skip
    reset = f"    for (int32_t i = 0; i < {accumulators}; i++) calibrant_accumulators[i] = 0.0f;\n"
    return f"void calibrant_commit(void) {{\n{lines}}}\n\nvoid calibrant_reset(void) {{\n{reset}}}\n"
