"""The design of a firmware that trains: the steps of a planned training as straight-line calls over one arena."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np

from calibrant.artifact import THRESHOLDS, Artifact
from calibrant.artifact.write import content_hash
from calibrant.autodiff import Scheme, differentiate, named
from calibrant.core.errors import DataError
from calibrant.core.program import Program
from calibrant.core.training import Step, Training
from calibrant.export import model, slots, sources, tables
from calibrant.export.boards import Board
from calibrant.export.report import aligned
from calibrant.export.slots import Part, define_slots
from calibrant.export.spec import ExportOptions, FirmwareSpec, record_bytes, require_coreset
from calibrant.memory.replay import ReplayBuffer
from calibrant.plan import schedule
from calibrant.plan.sharing import share
from calibrant.plan.stripes import choose, split

ALIGNMENT = 16  # bytes, of what lies in the arena
_ARGS = "P" * 10 + "i" * 9 + "fff" + "PPP" + "P" * 8  # cal_training_args
_LEARNER = "iiiiiiiff"  # calibrant_learner
_TIMELY = ("loss", "bias_update", "weight_update")  # steps that need the label or a rate
_OF_SLICE = ("gather", "bias_update", "weight_update")
_TWO_INPUTS = ("weight_update", "max_pool2d_grad")
_HEADERS = tuple(f"calibrant/{name}" for name in
                 ("calibration.h", "fmath.h", "training.h", "training.def", "training_kernel.h"))  # fmt: skip
_COMMITS = {"weight": "weight_commit", "bias": "bias_commit"}


@dataclass(frozen=True)
class Storage:
    """Where the parameters that adapt lie in RAM: layer -> offset in the trained weights, and in the trained biases."""

    weights: Mapping[int, int]
    biases: Mapping[int, int]
    weight_count: int
    bias_count: int

    @classmethod
    def of(cls, training: Training, program: Program) -> Storage:
        """Whole layers, even if a share of their channels is trained: kernels read a layer from one place."""
        offsets: dict[str, dict[int, int]] = {"weight": {}, "bias": {}}
        ends = {"weight": 0, "bias": 0}
        for part in sorted(training.slices, key=lambda part: (part.layer, part.kind)):
            layer = program.layers[part.layer]
            offsets[part.kind][part.layer] = ends[part.kind]
            ends[part.kind] += layer.weight_count if part.kind == "weight" else layer.c_out
        return cls(offsets["weight"], offsets["bias"], ends["weight"], ends["bias"])

    def expressions(self, program: Program) -> dict[int, tuple[str, str]]:
        """C expressions of the weights and biases of every layer, in RAM or in flash."""
        found = {}
        for i, layer in enumerate(program.layers):
            weights = f"(int8_t *)(calibrant_weights + {layer.weight_offset})"
            bias = f"(int32_t *)(calibrant_bias + {layer.channel_offset})"
            if i in self.weights:
                weights = f"calibrant_trained_weights + {self.weights[i]}"
            if i in self.biases:
                bias = f"calibrant_trained_bias + {self.biases[i]}"
            found[i] = weights, bias
        return found


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
    others = [storage.weight_count, 4 * storage.bias_count, 4 * accumulators, record_bytes(_LEARNER, 4)]
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
    text.record("calibrant_learner", "state", record_bytes(_LEARNER, pointer), "workspace", "state of the updater")
    model.define_parameters(text, artifact)
    placed = replace(program, offsets=training.offsets[: len(program.tensors)])
    model.define_tables(text, artifact, placed, pointer, storage.expressions(program))
    text.constant("coreset_x", pool.x, "coreset")
    text.constant("coreset_y", pool.y.astype(np.uint16), "classes of the coreset")
    name = f"{content_hash(artifact)} {[(part.layer, part.kind) for part in training.slices]}"
    define_slots(text, _parts(program, storage), sha256(name.encode()).digest(), board)
    for what, first in _first_channels(program, training).items():
        text.constant(what, getattr(training, what)[first:], f"multipliers of gradients: {what.replace('_', ' ')}")
    channels = np.array([c for part in training.slices for c in part.channels], np.int32)
    if channels.size:
        text.constant("channels", channels, "trained channels")
    backward = (step for step in training.steps if step.kind != "forward")
    steps = (tables.record(_fields(step, program, training, storage, accumulators)) for step in backward)
    text.records("cal_training_args", "steps", steps, record_bytes(_ARGS, pointer))
    if accumulators:
        commits = (tables.record(_layer_fields(program, storage, part.layer) | _slice_fields(training, program, i, True)
                                 | {"carry": 1}) for i, part in enumerate(training.slices))  # fmt: skip
        text.records("cal_training_args", "commits", commits, record_bytes(_ARGS, pointer))
    return text


def _first_channels(program: Program, training: Training) -> dict[str, int]:
    """From which channel on each array of multipliers is needed; those that are not are left out."""
    layers: dict[str, list[int]] = {f"{part.kind}_scaling": [] for part in training.slices}
    for part in training.slices:
        layers[f"{part.kind}_scaling"].append(part.layer)
    gated = [program.ops[step.op].layer for step in training.steps if step.kind == "gate"]
    layers |= {"effective": [i for i in gated if i >= 0]} if max(gated, default=-1) >= 0 else {}
    return {what: min(program.layers[i].channel_offset for i in found) for what, found in layers.items()}


def _parts(program: Program, storage: Storage) -> list[Part]:
    """Trained parameters in the order of storage: all weights, then all biases."""
    layers = program.layers
    weights = [Part(f"calibrant_weights + {layers[i].weight_offset}", f"calibrant_trained_weights + {offset}",
                    layers[i].weight_count, layers[i].bits) for i, offset in storage.weights.items()]  # fmt: skip
    biases = [Part(f"calibrant_bias + {layers[i].channel_offset}", f"calibrant_trained_bias + {offset}",
                   layers[i].c_out, 32) for i, offset in storage.biases.items()]  # fmt: skip
    return [*weights, *biases]


def _fields(step: Step, program: Program, training: Training, storage: Storage, accumulators: int) -> dict[str, object]:
    """A step's cal_training_args, as c/engine/training.c fills them in."""
    fields: dict[str, object] = {}
    if step.kind != "loss":
        op, operand = program.ops[step.op], step.attrs.get("operand", 0)
        fields |= {
            "op": f"&calibrant_ops[{step.op}]",
            "input": f"&calibrant_tensors[{op.inputs[operand]}]",
            "output": f"&calibrant_tensors[{op.output}]",
            "first_channel": sum(program.tensors[i].channels for i in op.inputs[:operand]),
        }
        if op.layer >= 0:
            fields |= _layer_fields(program, storage, op.layer)
        if op.layer >= 0 and step.kind == "gate":
            fields["effective"] = _from("effective", program, training, op.layer)
    if step.kind in _OF_SLICE:
        fields |= _slice_fields(training, program, step.slice, accumulators > 0)
    source = training.buffers[step.inputs[0]]
    x = f"calibrant_arena + {training.offsets[step.inputs[0]]}"
    g = training.offsets[step.inputs[1 if step.kind in _TWO_INPUTS else 0]]
    fields |= {
        "x": x,
        "g": f"(const float *)(calibrant_arena + {g})",
        "dtype": f"CAL_DTYPE_{source.dtype}",
        "zero_point": source.zero_point,
        "factor": tables.number(step.factor),
        "accumulate": step.attrs.get("accumulate", 0),
    }
    if step.kind == "gate" and len(step.inputs) == 2:
        fields["mask"] = f"calibrant_arena + {training.offsets[step.inputs[1]]}"
    if step.output >= 0:
        at = f"calibrant_arena + {training.offsets[step.output]}"
        fields |= {"mask": {"mask": at}, "gather": {"gathered": f"(int8_t *)({at})"}}.get(
            step.kind, {"dx": f"(float *)({at})"}
        )
    if step.attrs.get("in_place", 0):
        fields["scratch"] = f"(float *)(calibrant_arena + {step.attrs['scratch_offset']})"
    if step.kind == "loss":
        fields |= {"classes": len(training.head_scale), "head_scale": "calibrant_score_scale"}
    return fields


def _layer_fields(program: Program, storage: Storage, layer: int) -> dict[str, object]:
    weights, bias = storage.expressions(program)[layer]
    return {"layer": f"&calibrant_layers[{layer}]", "weights": weights, "bias": bias}


def _from(what: str, program: Program, training: Training, layer: int) -> str:
    """A layer's part of an array of multipliers."""
    first = _first_channels(program, training)[what]
    return f"calibrant_{what} + {program.layers[layer].channel_offset - first}"


def _slice_fields(training: Training, program: Program, index: int, accumulating: bool) -> dict[str, object]:
    part = training.slices[index]
    before = sum(len(other.channels) for other in training.slices[:index])
    scaling = _from(f"{part.kind}_scaling", program, training, part.layer)
    fields: dict[str, object] = {"channel_count": len(part.channels), "scaling": scaling}
    if part.channels:
        fields["channels"] = f"calibrant_channels + {before}"
    if accumulating:
        fields["accumulators"] = f"calibrant_accumulators + {part.offset}"
    return fields


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
