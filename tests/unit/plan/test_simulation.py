"""The checker refuses every plan of a training that we break on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from random_trainings import Backward, random_training

from calibrant.core.errors import PlanError
from calibrant.core.program import Layer, Op, Program, Tensor, View
from calibrant.core.training import Buffer, Slice, Step, Training
from calibrant.plan import check_training, schedule

WINDOW = {"kernel_h": 1, "kernel_w": 1, "stride_h": 1, "stride_w": 1, "pad_top": 0, "pad_left": 0, "dilation_h": 1,
          "dilation_w": 1, "groups": 1, "clamp_low": -128, "clamp_high": 127}  # fmt: skip


def program() -> Program:
    """x -> conv a -> conv b, one position each."""
    tensors = (Tensor("x", 1, 1, 8, 0.1, 0), Tensor("a", 1, 1, 8, 0.1, 0), Tensor("b", 1, 1, 8, 1.0, 0, 32))
    layers = tuple(Layer(f"conv{i}", 8, 8, 1, 1, 8, 1, 64 * i, 8 * i, 8 * i) for i in range(2))
    ops = tuple(Op("conv2d", (i,), i + 1, {**WINDOW, "scratch_bytes": 144}, i) for i in range(2))
    return Program(tensors, ops, layers, 0, 2, (), 0)


def planned() -> Training:
    return schedule(Backward(program(), 0, {0: 8, 1: 8}).training(), program(), alignment=4)


def index(training: Training, kind: str, at: int = 0) -> int:
    return [i for i, step in enumerate(training.steps) if step.kind == kind][at]


def moved(training: Training, source: int, target: int) -> Training:
    steps = list(training.steps)
    steps.insert(target, steps.pop(source))
    return replace(training, steps=tuple(steps))


def at(training: Training, i: int, offset: int) -> Training:
    offsets = list(training.offsets)
    offsets[i] = offset
    return replace(training, offsets=tuple(offsets))


def test_the_whole_plan_passes() -> None:
    check_training(planned(), program(), Backward(program(), 0, {0: 8, 1: 8}).training())


BROKEN: dict[str, tuple[str, Callable[[Training], Training]]] = {
    "offsets": ("expected 6 offsets", lambda t: replace(t, offsets=t.offsets[1:])),
    "arena": ("leaves the arena", lambda t: replace(t, arena_bytes=t.arena_bytes - 4)),
    "misaligned": ("its alignment", lambda t: at(t, 2, t.offsets[2] + 2)),
    "overlap of output and input": ("overlaps 'x'", lambda t: at(t, 1, t.offsets[0])),
    "overlap of what waits": (
        "reads 'x', but byte",
        lambda t: replace(t, arena_bytes=2048, offsets=(1024, 1088, 1152, 1216, 1280, 1024)),
    ),
    "buffer id": ("a buffer below 6, got 9", lambda t: replace(t, steps=(Step("mask", (9,), 1), *t.steps))),
    "op id": ("ids in range, got op 5", lambda t: replace(t, steps=(replace(t.steps[0], op=5), *t.steps[1:]))),
    "shape": ("expected the tensor 'x'", lambda t: replace(t, buffers=(Buffer("x", 1, 1, 9, "int8"), *t.buffers[1:]))),
    "read before written": ("reads 'a', but byte", lambda t: moved(t, index(t, "forward", 1), 0)),
    "written twice": ("a second time", lambda t: replace(t, steps=(t.steps[0], *t.steps))),
    "updated too early": (
        "reads the weight of layer 'conv1' after its update",
        lambda t: moved(t, index(t, "weight_update"), index(t, "conv2d_grad")),
    ),
    "read before its gate": ("was read or gated before", lambda t: moved(t, index(t, "gate", 1), len(t.steps) - 1)),
    "gate elsewhere": (
        "in place",
        lambda t: replace(t, steps=tuple(replace(s, output=1) if s.kind == "gate" else s for s in t.steps)),
    ),
    "scratch on its input": (
        "scratch at .* overlaps 'x'",
        lambda t: replace(
            t, steps=(replace(t.steps[0], attrs={"scratch_bytes": 4, "scratch_offset": t.offsets[0]}), *t.steps[1:])
        ),
    ),
    "scratch outside": (
        "scratch, 144 bytes at .*, leaves the arena",
        lambda t: replace(
            t, steps=(replace(t.steps[0], attrs={"scratch_bytes": 144, "scratch_offset": t.arena_bytes}), *t.steps[1:])
        ),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_plans_are_refused(name: str) -> None:
    message, spoil = BROKEN[name]
    with pytest.raises(PlanError, match=message):
        check_training(spoil(planned()), program())


def test_the_logits_wait_for_the_caller() -> None:
    training = planned()
    with pytest.raises(PlanError, match="the end: reads 'b'"):
        check_training(at(training, 5, training.offsets[2]), program())


def test_sums_in_another_order_are_refused() -> None:
    """Two gradients of one tensor: legal both ways, equal only one way."""
    tensors = tuple(Tensor(name, 1, 1, 4, 0.1, 0) for name in "xaby")
    ops = (Op("rescale", (0,), 1, {}), Op("rescale", (1,), 2, {}), Op("add", (1, 2), 3, {}))
    double = Program(tensors, ops, (), 0, 3, (), 0)
    ones = np.ones(0, np.float32)
    names = ("x", "a", "b", "y")
    buffers = (*(Buffer(n, 1, 1, 4, "int8") for n in names), *(Buffer(f"g{n}", 1, 1, 4, "float32") for n in "yab"))
    steps = (
        *(Step("forward", op.inputs, op.output, op=i) for i, op in enumerate(ops)),
        Step("loss", (3,), 4),
        Step("add_grad", (4,), 6, op=2),
        Step("add_grad", (4,), 5, op=2),
        Step("concat_grad", (6,), 5, op=1, attrs={"accumulate": 1}),
        Step("concat_grad", (4,), 5, op=2, attrs={"accumulate": 1}),
    )
    training = Training(buffers, steps, (), 0, 3, "int8", ones, ones, ones, ones)
    plan = schedule(training, double)
    check_training(plan, double, training)
    swapped = moved(plan, index(plan, "concat_grad"), index(plan, "concat_grad", 1))
    check_training(swapped, double)
    with pytest.raises(PlanError, match="as in the original order"):
        check_training(swapped, double, training)


def test_a_view_lies_in_its_parent() -> None:
    tensors = (
        Tensor("x", 4, 1, 4, 0.1, 0),
        View("x[2:4]", 2, 1, 4, 0.1, 0, parent=0, row=2),
        Tensor("y", 2, 1, 4, 1.0, 0),
    )
    half = Program(tensors, (Op("rescale", (1,), 2, {}),), (), 0, 2, (), 0)
    ones = np.ones(0, np.float32)
    buffers = tuple(Buffer(t.name, t.height, t.width, t.channels, "int8") for t in tensors)
    training = Training(buffers, (Step("forward", (1,), 2, op=0),), (), 0, 2, "int8", ones, ones, ones, ones)
    plan = schedule(training, half, alignment=16)
    assert (plan.offsets[1] - plan.offsets[0], plan.arena_bytes) == (8, 32)
    with pytest.raises(PlanError, match=r"buffer 'x\[2:4\]': expected row 2 of its parent"):
        check_training(at(plan, 1, plan.offsets[1] + 4), half)


@pytest.mark.parametrize("seed", range(8))
def test_planted_overlaps(seed: int) -> None:
    """Move any buffer that a step reads onto that step's output: always found."""
    training, of = random_training(seed)
    plan = schedule(training, of)
    for step in plan.steps:
        if step.kind in ("gate", "loss") or step.output < 0:
            continue
        room = max(plan.arena_bytes, plan.offsets[step.output] + plan.buffers[step.inputs[0]].nbytes)
        bad = at(replace(plan, arena_bytes=room), step.inputs[0], plan.offsets[step.output])
        with pytest.raises(PlanError):
            check_training(bad, of)


def test_slice_of_the_head_is_updated_last() -> None:
    """dense reads the head before dense_update, dense_grad too."""
    x = program()
    ones = np.ones(16, np.float32)
    buffers = (*(Buffer(t.name, 1, 1, 8, "int32" if t.bits == 32 else "int8") for t in x.tensors),
               Buffer("logits", 1, 1, 8, "float32"), Buffer("g", 1, 1, 8, "float32"), Buffer("gx", 1, 1, 8, "float32"),
               )  # fmt: skip
    steps = (
        Step("forward", (0,), 1, op=0),
        Step("dense", (1,), 3, op=1),
        Step("loss", (3,), 4),
        Step("dense_grad", (4,), 5, op=1),
        Step("dense_update", (1, 4), op=1, slice=0),
        Step("gate", (5,), 5, op=0),
        Step("bias_update", (5,), op=0, slice=1),
    )
    slices = (Slice(1, "head", 0, 72), Slice(0, "bias", 72, 8))
    plan = schedule(Training(buffers, steps, slices, 0, 3, "float32", ones, ones, ones, ones), x)
    with pytest.raises(PlanError, match="reads the head after its update"):
        check_training(moved(plan, index(plan, "dense_update"), index(plan, "dense_grad")), x)
