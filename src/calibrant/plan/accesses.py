"""What every step reads and writes: rows of buffers, and parameters. Orders and lifetimes follow from that alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calibrant.core.errors import PlanError
from calibrant.core.program import Op, Program, Tensor
from calibrant.core.training import Step, Training


@dataclass(frozen=True)
class Area:
    """Rows [first, last) of a memory: `root` counts the buffers, then the parameters, which take no arena."""

    root: int
    first: int
    last: int

    def meets(self, other: Area) -> bool:
        """Whether they share a row."""
        return self.root == other.root and self.first < other.last and other.first < self.last


@dataclass(frozen=True)
class Task:
    """One step's memory; `scratch` bytes are its own. What it changes in place it reads and writes."""

    reads: tuple[Area, ...]
    writes: tuple[Area, ...]
    scratch: int = 0

    @property
    def roots(self) -> frozenset[int]:
        """All memories that it touches."""
        return frozenset(area.root for area in (*self.reads, *self.writes))


@dataclass(frozen=True)
class Work:
    """Tasks in their natural order and bytes per root; `source` is filled before, `kept` outlives the tasks."""

    tasks: tuple[Task, ...]
    sizes: tuple[int, ...]
    source: int
    kept: int


def areas_of(tensors: Sequence[Tensor]) -> list[Area]:
    """The memory of each tensor of a program: its own, or the rows of another one's that a view is.

    Raises
    ------
    PlanError
        A view of a view, of no tensor, of rows that its tensor lacks, or of rows that differ from its own.

    Examples
    --------
    >>> from calibrant.core.program import View
    >>> areas_of([Tensor("x", 4, 2, 1, 1.0, 0), View("x[1:3]", 2, 2, 1, 1.0, 0, parent=0, row=1)])
    [Area(root=0, first=0, last=4), Area(root=0, first=1, last=3)]
    """
    areas = []
    for i, tensor in enumerate(tensors):
        if tensor.parent < 0:
            areas.append(Area(i, 0, tensor.height))
            continue
        whole = tensors[tensor.parent] if tensor.parent < len(tensors) else None
        if whole is None or whole.parent >= 0:
            raise PlanError(f"tensor '{tensor.name}': expected rows of a tensor that is no view, got {tensor.parent}")
        if not 0 <= tensor.row <= whole.height - tensor.height:
            raise PlanError(f"tensor '{tensor.name}': expected rows below {whole.height}, got {tensor.height} at row "
                            f"{tensor.row}")  # fmt: skip
        if (tensor.width, tensor.channels, tensor.bits) != (whole.width, whole.channels, whole.bits):
            raise PlanError(f"tensor '{tensor.name}': expected rows of the shape and width of '{whole.name}'")
        areas.append(Area(tensor.parent, tensor.row, tensor.row + tensor.height))
    return areas


def inference(program: Program) -> Work:
    """The ops of a program as tasks; the output is kept."""
    areas = areas_of(program.tensors)
    tasks = [Task(tuple(areas[i] for i in op.inputs), (areas[op.output],), _scratch(op)) for op in program.ops]
    sizes = [tensor.nbytes if tensor.parent < 0 else 0 for tensor in program.tensors]
    return Work(tuple(tasks), tuple(sizes), areas[program.input].root, areas[program.output].root)


def training(training: Training, program: Program) -> Work:
    """The steps of a training as tasks; the logits are kept, so that the caller can read the prediction.

    A layer's weight and bias, and the float32 head, are memories of no bytes: a step that reads them stays on the same
    side of the step that updates them. So conv2d_grad precedes weight_update, as the gradient needs the old weights.
    A step with the attribute `in_place` has one memory for its first input and its output.
    """
    areas = areas_of(program.tensors)
    areas += [Area(i, 0, 1) for i in range(len(areas), len(training.buffers))]
    for step in training.steps:
        if step.attrs.get("in_place", 0):
            areas[step.output] = areas[step.inputs[0]]
    sizes = [0 if areas[i].root != i else buffer.nbytes for i, buffer in enumerate(training.buffers)]
    tasks = tuple(_task(step, training, program, areas) for step in training.steps)
    parameters = 2 * len(program.layers) + 1
    return Work(tasks, (*sizes, *(0,) * parameters), areas[training.input].root, areas[training.logits].root)


def _task(step: Step, training: Training, program: Program, areas: Sequence[Area]) -> Task:
    weight, head = len(areas), Area(len(areas) + 2 * len(program.layers), 0, 1)
    reads = [areas[i] for i in step.inputs]
    writes = [areas[step.output]] if step.output >= 0 else []
    layer = program.ops[step.op].layer if step.op >= 0 else -1
    if step.kind == "gate" or step.attrs.get("accumulate", 0) or step.attrs.get("in_place", 0):
        reads += writes
    if step.kind in ("forward", "conv2d_grad") and layer >= 0:
        reads.append(Area(weight + 2 * layer, 0, 1))
    if step.kind == "forward" and layer >= 0:
        reads.append(Area(weight + 2 * layer + 1, 0, 1))
    if step.kind in ("dense", "dense_grad"):
        reads.append(head)
    if step.kind == "dense_update":
        writes.append(head)
    if step.kind in ("weight_update", "bias_update"):
        part = training.slices[step.slice]
        writes.append(head if part.kind == "head" else Area(weight + 2 * part.layer + (part.kind == "bias"), 0, 1))
    scratch = _scratch(program.ops[step.op]) if step.kind == "forward" else step.attrs.get("scratch_bytes", 0)
    return Task(tuple(reads), tuple(writes), scratch)


def _scratch(op: Op) -> int:
    return op.attrs.get("scratch_bytes", 0)
