"""Trainings written by hand over small programs, every buffer in memory of its own, so that each can be read after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core.program import Program
from calibrant.core.training import Buffer, Slice, Step, Training
from calibrant.engine import Trainer

ALIGNMENT = 64
TYPES = {"int8": np.int8, "int32": np.int32, "float32": np.float32}


class Draft:
    """A training under construction: buffers and steps are appended, ids are returned."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.buffers = [Buffer(t.name, t.height, t.width, t.channels, "int8" if t.bits == 8 else "int32", t.scale,
                               t.zero_point) for t in program.tensors]  # fmt: skip
        self.steps: list[Step] = []
        self.slices: list[Slice] = []

    def buffer(self, name: str, shape: Sequence[int], dtype: str = "float32") -> int:
        self.buffers.append(Buffer(name, *shape, dtype))  # type: ignore[call-arg]
        return len(self.buffers) - 1

    def like(self, name: str, tensor: int, dtype: str = "float32") -> int:
        t = self.program.tensors[tensor]
        return self.buffer(name, (t.height, t.width, t.channels), dtype)

    def train(self, layer: int, kind: str, count: int, channels: tuple[int, ...] = ()) -> int:
        offset = sum(part.count for part in self.slices)
        self.slices.append(Slice(layer, kind, offset, count, channels))
        return len(self.slices) - 1

    def add(self, kind: str, inputs: tuple[int, ...], output: int = -1, *, op: int = -1, part: int = -1,
            factor: float = 1.0, **attrs: int) -> int:  # fmt: skip
        self.steps.append(Step(kind, inputs, output, op, part, factor, attrs))
        return output

    def forward(self, ops: Sequence[int] | None = None) -> None:
        for at in range(len(self.program.ops)) if ops is None else ops:
            op = self.program.ops[at]
            self.add("forward", op.inputs, op.output, op=at)

    def head(self, classes: int) -> tuple[int, int]:
        """A float32 head on the program's output: ids of the gradients of the logits and of the output."""
        output = self.program.tensors[self.program.output]
        logits, error = self.buffer("logits", (1, 1, classes)), self.buffer("error", (1, 1, classes))
        self.logits = self.add("dense", (self.program.output,), logits, factor=output.scale)
        self.add("loss", (logits,), error)
        return error, self.add("dense_grad", (error,), self.like("g", self.program.output), factor=output.scale)

    def training(self, head: str = "float32", **changes: Any) -> Training:
        """Planned; scalings are drawn, reproducibly, and `changes` replace what is given."""
        offsets, end = [], 0
        for buffer in self.buffers:
            offsets.append(end)
            end += -(-buffer.nbytes // ALIGNMENT) * ALIGNMENT
        steps, arena = [], end
        for step in self.steps:
            if step.kind == "forward":
                nbytes = self.program.ops[step.op].attrs.get("scratch_bytes", 0)
                step = replace(step, attrs={"scratch_offset": end, "scratch_bytes": nbytes})
                arena = max(arena, end + nbytes)
            steps.append(step)
        logits = self.program.output if head == "int8" else self.logits
        rng = np.random.default_rng(self.program.channel_count)
        drawn = [rng.uniform(0.5, 2, self.program.channel_count).astype(np.float32) for _ in range(3)]
        planned = Training(  # type: ignore[call-arg]
            tuple(self.buffers), tuple(steps), tuple(self.slices), self.program.input, logits, head,
            *drawn, np.full(self.buffers[logits].elements, 1e-4, np.float32), tuple(offsets), arena,
        )  # fmt: skip
        return replace(planned, **changes)


def in_place(training: Training, **attrs: int) -> Training:
    """The last gradient of a convolution runs last, in the memory of its input; its scratch lies behind everything."""
    steps = list(training.steps)
    step = steps.pop(max(i for i, step in enumerate(steps) if step.kind == "conv2d_grad"))
    g, begin = training.buffers[step.inputs[0]], -(-training.arena_bytes // ALIGNMENT) * ALIGNMENT
    nbytes = 4 * g.height * g.width * min(g.channels, 8)
    own = {**step.attrs, "in_place": 1, "scratch_offset": begin, "scratch_bytes": nbytes, **attrs}
    offsets = list(training.offsets)
    offsets[step.output] = offsets[step.inputs[0]]
    return replace(training, steps=(*steps, replace(step, attrs=own)), offsets=tuple(offsets),
                   arena_bytes=begin + nbytes)  # fmt: skip


def contents(trainer: Trainer, ids: Mapping[str, int]) -> dict[str, NDArray[Any]]:
    """What lies in buffers after a step, [height, width, channels]; a mask as bool."""
    arena, found = trainer.arena, {}
    for name, i in ids.items():
        buffer, at = trainer.training.buffers[i], trainer.training.offsets[i]
        raw = arena[at : at + buffer.nbytes]
        if buffer.dtype == "mask":
            values: NDArray[Any] = np.unpackbits(raw, count=buffer.elements, bitorder="little").astype(bool)
        else:
            values = raw.view(TYPES[buffer.dtype])
        found[name] = values.reshape(buffer.height, buffer.width, buffer.channels)
    return found


def slice_of(trainer: Trainer, part: int) -> slice:
    """Where a slice's accumulators stand."""
    record = trainer.training.slices[part]
    return slice(record.offset, record.offset + record.count)
