"""Reports say what the plan says, counted another way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from random_trainings import Backward, random_training

from calibrant.core.errors import PlanError
from calibrant.core.program import Layer, Op, Program, Tensor
from calibrant.core.training import Step, Training
from calibrant.plan import picture, report, schedule
from calibrant.plan.report import occupants
from calibrant.plan.workload import program_macs, step_macs

WINDOW = {"kernel_h": 1, "kernel_w": 1, "stride_h": 1, "stride_w": 1, "pad_top": 0, "pad_left": 0, "dilation_h": 1,
          "dilation_w": 1, "groups": 1, "clamp_low": -128, "clamp_high": 127, "scratch_bytes": 0}  # fmt: skip


def planned() -> tuple[Training, Program]:
    """x [2, 2, 8] -> conv to a [2, 2, 16] at 4 bits -> conv to b [2, 2, 3]; 2 input channels of the second trained."""
    tensors = (Tensor("x", 2, 2, 8, 0.1, 0), Tensor("a", 2, 2, 16, 0.1, 0), Tensor("b", 2, 2, 3, 1.0, 0, 32))
    layers = (Layer("conv0", 4, 16, 1, 1, 8, 1, 0, 0, 0), Layer("conv1", 8, 3, 1, 1, 16, 1, 128, 16, 8))
    ops = tuple(Op("conv2d", (i,), i + 1, WINDOW, i) for i in range(2))
    program = Program(tensors, ops, layers, 0, 2, (), 0)
    return schedule(Backward(program, 0, {1: 2}).training(), program, alignment=4), program


def test_by_hand() -> None:
    """Mask of a: 8 bytes; gathered a: 8; logits 48 and their gradient 48; gradient of a: 256."""
    training, program = planned()
    found = report(training, program)
    assert (found.mask_bytes, found.saved_bytes) == (8, 8 + 8)
    assert found.forward_peak_bytes == 64 + 8 + 8 + 48  # during the second convolution: a, mask, gathered, b
    assert found.backward_peak_bytes == 8 + 8 + 48 + 48 + 256  # the gradient of a
    assert found.arena_bytes == found.peak_bytes == found.backward_peak_bytes
    assert found.forward_macs == 4 * 16 * 8 + 4 * 3 * 16 == program_macs(program)
    assert found.backward_macs == 4 * 3 * 16 + 4 * 3 * 2
    assert found.trained_bytes == 3 * 2 + 4 * (16 + 3)
    assert found.accumulator_bytes == 4 * (3 * 2 + 16 + 3)
    assert found.constant_bytes == 128 // 2 + 48 + 12 * 19 + 4 * (16 + 3) + 4 * (16 + 3 + 3)
    assert [piece.name for piece in found.largest[:2]] == ["gradient of a", "a"]
    assert (found.largest[0].kind, found.largest[0].nbytes) == ("gradient", 256)


def test_json() -> None:
    found = report(*planned())
    plain = json.loads(json.dumps(found.to_json()))
    assert plain["arena_bytes"] == found.arena_bytes
    assert plain["largest"][0]["name"] == "gradient of a"


@pytest.mark.parametrize("seed", range(6))
def test_occupants_never_meet_in_the_arena(seed: int) -> None:
    training, program = random_training(seed)
    training = schedule(training, program)
    pieces = occupants(training, program)
    for i, a in enumerate(pieces):
        assert a.offset + a.nbytes <= training.arena_bytes
        for b in pieces[:i]:
            if a.first <= b.last and b.first <= a.last:
                assert a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset
    used = [sum(p.nbytes for p in pieces if p.first <= at <= p.last) for at in range(len(training.steps))]
    assert max(used) == report(training, program).peak_bytes


def test_a_plan_and_a_loss_are_needed() -> None:
    training, program = random_training(0)
    with pytest.raises(PlanError, match="expected a plan"):
        report(training, program)
    with pytest.raises(PlanError, match="expected a loss among its steps"):
        report(replace(schedule(training, program), steps=training.steps[:1]), program)


def test_macs_of_the_float_head() -> None:
    training, program = planned()
    head = replace(
        training,
        buffers=(*training.buffers[:3], *(replace(training.buffers[4], channels=n, height=1, width=1) for n in (3, 8))),
    )
    assert step_macs(Step("dense", (4,), 3, op=1), head, program) == 24
    assert step_macs(Step("dense_update", (4, 3), op=1), head, program) == 24
    assert step_macs(Step("gate", (4,), 4, op=1), head, program) == 0


def test_picture(tmp_path: Path) -> None:
    """Every kind of memory and the peaks are named in the drawing."""
    pytest.importorskip("matplotlib")
    training, program = random_training(5)
    training = schedule(training, program)
    path = tmp_path / "arena.svg"
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none"}):
        picture(training, program, path, "a title")
    text = path.read_text()
    for word in ("a title", f"arena {training.arena_bytes:,} B", *{p.kind for p in occupants(training, program)}):
        assert word in text
