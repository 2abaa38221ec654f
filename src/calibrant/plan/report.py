"""What a planned training step holds in memory, when, and what it computes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from calibrant.core.errors import PlanError
from calibrant.core.program import Program
from calibrant.core.training import Training
from calibrant.plan import accesses
from calibrant.plan.order import lifetimes, live
from calibrant.plan.workload import step_macs

KINDS = ("activation", "saved", "mask", "gradient", "scratch")
LARGEST = 10  # buffers that a report names


@dataclass(frozen=True)
class Occupant:
    """A piece of the arena: `kind` of `KINDS`, in use from step `first` to step `last`, both included."""

    name: str
    kind: str
    offset: int
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryReport:
    """Bytes and multiply-accumulates of one training step.

    `arena_bytes` is what the plan takes, `peak_bytes` the most that is in use at once: no plan of this order takes
    less. `forward_peak_bytes` up to the loss, `backward_peak_bytes` from it on. `saved_bytes` wait from forward to
    backward, masks of `mask_bytes` among them. `trained_bytes` are the trained values themselves (int8 weights, int32
    biases, a float32 head), `accumulator_bytes` what they take more if steps accumulate. `constant_bytes`: weights at
    their width, 32-bit bias, multiplier and shift of every channel, and the float32 multipliers of the backward pass.
    """

    arena_bytes: int
    peak_bytes: int
    forward_peak_bytes: int
    backward_peak_bytes: int
    saved_bytes: int
    mask_bytes: int
    trained_bytes: int
    accumulator_bytes: int
    constant_bytes: int
    forward_macs: int
    backward_macs: int
    steps: int
    largest: tuple[Occupant, ...]

    def to_json(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)


def report(training: Training, program: Program) -> MemoryReport:
    """The memory report of a planned training.

    Raises
    ------
    PlanError
        If the training has no plan or no loss.
    """
    pieces = occupants(training, program)
    loss = loss_step(training)
    work = accesses.training(training, program)
    used = live(work, range(len(work.tasks)))
    macs = [step_macs(step, training, program) for step in training.steps]
    buffers = sorted((p for p in pieces if p.kind != "scratch"), key=lambda p: (-p.nbytes, p.first, p.offset))
    return MemoryReport(
        arena_bytes=training.arena_bytes,
        peak_bytes=max(used),
        forward_peak_bytes=max(used[: loss + 1]),
        backward_peak_bytes=max(used[loss:]),
        saved_bytes=sum(p.nbytes for p in pieces if p.kind in ("saved", "mask") and p.first < loss < p.last),
        mask_bytes=sum(p.nbytes for p in pieces if p.kind == "mask"),
        trained_bytes=sum(part.count * (1 if part.kind == "weight" else 4) for part in training.slices),
        accumulator_bytes=4 * training.accumulator_count,
        constant_bytes=_constant_bytes(training, program),
        forward_macs=sum(macs[:loss]),
        backward_macs=sum(macs[loss:]),
        steps=len(training.steps),
        largest=tuple(buffers[:LARGEST]),
    )


def occupants(training: Training, program: Program) -> tuple[Occupant, ...]:
    """Everything that the arena of a planned training holds: buffers in order of their ids, then scratch by step.

    Views are part of their parents. An activation that a step after the loss reads is 'saved', as are the gathered
    channels of an input.
    """
    if len(training.offsets) != len(training.buffers):
        raise PlanError(f"training: expected a plan, one offset for each of {len(training.buffers)} buffers")
    loss = loss_step(training)
    work = accesses.training(training, program)
    found = []
    for root, (first, last) in lifetimes(work, range(len(work.tasks))).items():
        buffer = training.buffers[root]
        kind = "gradient" if buffer.dtype == "float32" else buffer.dtype
        if kind in ("int8", "int32"):
            kind = "saved" if first < loss < last and root != training.logits else "activation"
        found.append(Occupant(buffer.name, kind, training.offsets[root], buffer.nbytes, first, last))
    for at, step in enumerate(training.steps):
        nbytes = step.attrs.get("scratch_bytes", 0)
        if nbytes:
            found.append(Occupant(f"scratch of step {at}", "scratch", step.attrs["scratch_offset"], nbytes, at, at))
    return tuple(found)


def loss_step(training: Training) -> int:
    """Where forward ends and backward begins."""
    for at, step in enumerate(training.steps):
        if step.kind == "loss":
            return at
    raise PlanError("training: expected a loss among its steps, got none")


def _constant_bytes(training: Training, program: Program) -> int:
    weights = sum(-(-layer.weight_count * layer.bits // 8) for layer in program.layers)
    gated = {program.ops[step.op].layer for step in training.steps if step.kind == "gate"} - {-1}
    multipliers = sum(program.layers[layer].c_out for layer in gated)
    multipliers += sum(program.layers[part.layer].c_out for part in training.slices if part.kind in ("weight", "bias"))
    return weights + 3 * 4 * program.channel_count + 4 * multipliers
