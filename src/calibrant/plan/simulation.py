"""An independent verifier of planned trainings: it runs the steps on an arena that remembers whose byte is whose.

It shares no code with the planner and trusts nothing but the training and its program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import PlanError
from calibrant.core.program import Program
from calibrant.core.training import Step, Training

PLANNED_ATTRS = ("scratch_offset", "scratch_bytes", "in_place")
FREE, SCRATCH = -1, -2  # owners of bytes that hold no buffer
ITEM_BYTES = {"int8": 1, "int32": 4, "float32": 4, "mask": 1}
CHANNELS_AT_ONCE = 8  # whose values a gradient in place copies to its scratch
READS_WEIGHT = ("forward", "conv2d_grad")


def check_training(training: Training, program: Program, original: Training | None = None) -> None:
    """Refuse a planned training in which a step reads anything but what it should.

    Every byte of the arena carries the buffer that was last written there, so a read of a byte that is not the buffer's
    own is found, whatever the reason: an overlap, an order, a missing step. Of parameters: the gradient of a layer's
    input and the layer's forward step come before its update. Of gradients: a gate comes after all sums and before all
    other readers.

    Parameters
    ----------
    training : Training
        Planned.
    program : Program
        What it was made of.
    original : Training, optional
        The same training before planning: each step must read the same values as there, sums in the same order.

    Raises
    ------
    PlanError

    Examples
    --------
    >>> from calibrant.core.program import Op, Tensor
    >>> from calibrant.core.training import Buffer
    >>> x, y = Tensor("x", 1, 4, 1, 0.1, 0), Tensor("y", 1, 4, 1, 0.1, 0)
    >>> program = Program((x, y), (Op("rescale", (0,), 1, {}),), (), 0, 1, (), 0)
    >>> none = np.empty(0, np.float32)
    >>> check_training(Training((Buffer("x", 1, 4, 1, "int8"), Buffer("y", 1, 4, 1, "int8")), (Step("forward", (0,), 1,
    ...     op=0),), (), 0, 1, "int8", none, none, none, none, offsets=(0, 2), arena_bytes=8), program)
    Traceback (most recent call last):
    calibrant.core.errors.PlanError: step 0 (forward): output 'y' at 2 overlaps 'x' at 0, which it reads
    """
    _check_buffers(training, program)
    arena = _Arena(training, program)
    arena.fill(training.input, "input")
    for at, step in enumerate(training.steps):
        arena.run(step, f"step {at} ({step.kind})")
    arena.read(training.logits, "the end")
    _check_parameters(training, program)
    _check_gates(training)
    if original is not None:
        _check_versions(training, original, program)


def _check_buffers(training: Training, program: Program) -> None:
    buffers, tensors = training.buffers, program.tensors
    if len(training.offsets) != len(buffers):
        raise PlanError(f"training: expected {len(buffers)} offsets, one a buffer, got {len(training.offsets)}")
    if len(buffers) < len(tensors):
        raise PlanError(f"training: expected the program's {len(tensors)} tensors as buffers, got {len(buffers)}")
    for tensor, buffer in zip(tensors, buffers, strict=False):
        shape, got = (tensor.height, tensor.width, tensor.channels), (buffer.height, buffer.width, buffer.channels)
        if shape != got or ITEM_BYTES.get(buffer.dtype) != tensor.bits // 8:
            raise PlanError(f"buffer '{buffer.name}': expected the tensor '{tensor.name}', {shape} of {tensor.bits} "
                            f"bits, got {got} of {buffer.dtype}")  # fmt: skip
    for i, (buffer, offset) in enumerate(zip(buffers, training.offsets, strict=True)):
        if buffer.dtype not in ITEM_BYTES or offset % ITEM_BYTES[buffer.dtype]:
            raise PlanError(f"buffer '{buffer.name}': expected a known type and its alignment, got {buffer.dtype} at "
                            f"{offset}")  # fmt: skip
        if i < len(tensors) and tensors[i].parent >= 0:
            whole = training.offsets[tensors[i].parent]
            row = tensors[i].row * tensors[i].row_bytes
            if offset != whole + row:
                raise PlanError(f"buffer '{buffer.name}': expected row {tensors[i].row} of its parent at "
                                f"{whole + row}, got {offset}")  # fmt: skip
    for at, step in enumerate(training.steps):
        for i in (*step.inputs, *((step.output,) if step.output != -1 else ())):
            if not 0 <= i < len(buffers):
                raise PlanError(f"step {at} ({step.kind}): expected a buffer below {len(buffers)}, got {i}")
        if not -1 <= step.op < len(program.ops) or not -1 <= step.slice < len(training.slices):
            raise PlanError(f"step {at} ({step.kind}): expected ids in range, got op {step.op}, slice {step.slice}")


class _Arena:
    """Who wrote each byte last. A view writes and reads on behalf of its parent."""

    def __init__(self, training: Training, program: Program) -> None:
        self.training, self.program = training, program
        self.owner: NDArray[np.int32] = np.full(training.arena_bytes, FREE, np.int32)
        self.root = list(range(len(training.buffers)))
        for i, tensor in enumerate(program.tensors):
            self.root[i] = tensor.parent if tensor.parent >= 0 else i
        self.written: dict[int, list[tuple[int, int]]] = {}  # by root: the bytes within it that were ever written

    def span(self, i: int) -> tuple[int, int]:
        buffer = self.training.buffers[i]
        values = buffer.height * buffer.width * buffer.channels
        nbytes = -(-values // 8) if buffer.dtype == "mask" else values * ITEM_BYTES[buffer.dtype]
        return self.training.offsets[i], self.training.offsets[i] + nbytes

    def name(self, i: int) -> str:
        return f"'{self.training.buffers[i].name}'"

    def fill(self, i: int, where: str) -> None:
        begin, end = self.span(i)
        if begin < 0 or end > self.training.arena_bytes:
            raise PlanError(f"{where}: {self.name(i)}, {end - begin} bytes at {begin}, leaves the arena of "
                            f"{self.training.arena_bytes}")  # fmt: skip
        start = begin - self.training.offsets[self.root[i]]
        earlier = self.written.setdefault(self.root[i], [])
        if any(self._meet((start, start + end - begin), part) for part in earlier):
            raise PlanError(f"{where}: writes {self.name(i)} a second time")
        earlier.append((start, start + end - begin))
        self.owner[begin:end] = self.root[i]

    def read(self, i: int, where: str) -> None:
        begin, end = self.span(i)
        wrong = np.flatnonzero(self.owner[max(begin, 0) : end] != self.root[i])
        if begin < 0 or end > len(self.owner) or len(wrong):
            at = begin + int(wrong[0]) if len(wrong) else begin
            owner = int(self.owner[at]) if 0 <= at < len(self.owner) else FREE
            found = self.name(owner) if owner >= 0 else {FREE: "nothing", SCRATCH: "scratch"}[owner]
            raise PlanError(f"{where}: reads {self.name(i)}, but byte {at} of the arena holds {found}")

    def run(self, step: Step, where: str) -> None:
        in_place = step.kind == "gate" or bool(step.attrs.get("accumulate", 0))
        for i in step.inputs:
            self.read(i, where)
        touched = list(step.inputs)
        if step.kind == "gate" and step.output != step.inputs[0]:
            raise PlanError(f"{where}: expected its first input {self.name(step.inputs[0])} as output, in place")
        shared = self._shared(step, where) if step.attrs.get("in_place", 0) else -1
        if step.output >= 0:
            for i in step.inputs:
                if (
                    i != shared
                    and self._meet(self.span(i), self.span(step.output))
                    and not (in_place and i == step.output)
                ):
                    raise PlanError(f"{where}: output {self.name(step.output)} at {self.span(step.output)[0]} overlaps "
                                    f"{self.name(i)} at {self.span(i)[0]}, which it reads")  # fmt: skip
            touched.append(step.output)
        nbytes, start = step.attrs.get("scratch_bytes", 0), step.attrs.get("scratch_offset", 0)
        if nbytes:
            if start < 0 or nbytes < 0 or start + nbytes > len(self.owner):
                raise PlanError(f"{where}: scratch, {nbytes} bytes at {start}, leaves the arena of {len(self.owner)}")
            for i in touched:
                if self._meet((start, start + nbytes), self.span(i)):
                    raise PlanError(f"{where}: scratch at {start} overlaps {self.name(i)} at {self.span(i)[0]}")
            self.owner[start : start + nbytes] = SCRATCH
        if step.output >= 0 and in_place:
            self.read(step.output, where)
        elif step.output >= 0:
            self.fill(step.output, where)

    def _shared(self, step: Step, where: str) -> int:
        """The input that a depthwise gradient may overwrite: it reads one block of channels, then writes the same."""
        op = self.program.ops[step.op]
        layer, source = self.program.layers[op.layer], self.training.buffers[step.inputs[0]]
        depthwise = layer.groups == layer.c_in == layer.c_out
        strides = op.attrs["stride_h"], op.attrs["stride_w"]
        if step.kind != "conv2d_grad" or step.attrs.get("accumulate", 0) or not depthwise or strides != (1, 1):
            raise PlanError(f"{where}: expected a depthwise gradient of stride 1 that adds to nothing, in place")
        if self.span(step.inputs[0]) != self.span(step.output):
            raise PlanError(
                f"{where}: expected output {self.name(step.output)} in place of {self.name(step.inputs[0])}"
            )
        least = 4 * source.height * source.width * min(layer.c_in, CHANNELS_AT_ONCE)
        if step.attrs.get("scratch_bytes", 0) < least:
            raise PlanError(f"{where}: expected {least} bytes of scratch, got {step.attrs.get('scratch_bytes', 0)}")
        return step.inputs[0]

    @staticmethod
    def _meet(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a[0] < b[1] and b[0] < a[1]


def _check_parameters(training: Training, program: Program) -> None:
    """Nothing reads a layer's weight after its update, nor the forward step its bias; likewise the float32 head."""
    updated: set[tuple[str, int]] = set()
    for at, step in enumerate(training.steps):
        where = f"step {at} ({step.kind})"
        layer = program.ops[step.op].layer if step.op >= 0 else -1
        stale = [("weight", layer)] if step.kind in READS_WEIGHT and layer >= 0 else []
        stale += [("bias", layer)] if step.kind == "forward" and layer >= 0 else []
        stale += [("head", -1)] if step.kind in ("dense", "dense_grad") else []
        for kind, of in stale:
            if (kind, of) in updated:
                name = f" of layer '{program.layers[of].name}'" if of >= 0 else ""
                raise PlanError(f"{where}: reads the {kind}{name} after its update")
        if step.kind in ("weight_update", "bias_update", "dense_update"):
            part = training.slices[step.slice]
            updated.add(("head", -1) if part.kind == "head" else (part.kind, part.layer))


def _check_gates(training: Training) -> None:
    """A gated buffer is complete when its gate runs, and nobody reads it before."""
    gated: set[int] = set()
    read: set[int] = set()
    for at, step in enumerate(training.steps):
        if step.kind == "gate":
            if step.output in gated or step.output in read:
                raise PlanError(f"step {at} (gate): '{training.buffers[step.output].name}' was read or gated before")
            gated.add(step.output)
            continue
        if step.output in gated:
            raise PlanError(f"step {at} ({step.kind}): adds to '{training.buffers[step.output].name}' after its gate")
        read |= set(step.inputs)


def _check_versions(training: Training, original: Training, program: Program) -> None:
    """Each step finds the same values as in the original: every buffer has been written as often before it."""
    if (training.buffers, training.slices) != (original.buffers, original.slices):
        raise PlanError("training: expected the buffers and slices of the original")
    planned, natural = (Counter(_versions(t, program)) for t in (training, original))
    for key in planned - natural or natural - planned:
        raise PlanError(f"{key[0]} into {key[2]}: expected to find its buffers as in the original order")


def _versions(training: Training, program: Program) -> Iterator[tuple[object, ...]]:
    writes: dict[int, int] = {}
    for step in training.steps:
        attrs = tuple(sorted((k, v) for k, v in step.attrs.items() if k not in PLANNED_ATTRS))
        used = tuple(writes.get(i, 0) for i in (*step.inputs, step.output))
        yield (step.kind, step.inputs, step.output, step.op, step.slice, step.factor, attrs, used)
        if step.output >= 0:
            writes[step.output] = writes.get(step.output, 0) + 1
