"""Planned trainings: legal, apart in memory, as small as what is in use at once allows."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_trainings import Backward, random_training, shuffled

from calibrant.autodiff import differentiate, published
from calibrant.core.errors import PlanError
from calibrant.core.program import Layer, Op, Program, Tensor
from calibrant.core.training import Training
from calibrant.plan import accesses, check_training, compact, lower, report, schedule
from calibrant.plan.order import live
from calibrant.plan.report import occupants
from calibrant.zoo import load_tinyml

FOLDER = Path(os.environ.get("CALIBRANT_DATA", Path(__file__).parents[4] / "shared" / "data"))
real = pytest.mark.skipif(not (FOLDER / "tinyml").is_dir(), reason=f"no tinyml in {FOLDER}; set CALIBRANT_DATA")
SEEDS = st.integers(0, 400)


@settings(max_examples=25)
@given(SEEDS, st.sampled_from((4, 16, 64)))
def test_random_trainings(seed: int, alignment: int) -> None:
    training, program = random_training(seed)
    planned = schedule(training, program, alignment=alignment, in_place=seed % 2 == 1)
    check_training(planned, program, training)
    found = report(planned, program)
    assert found.peak_bytes <= planned.arena_bytes
    assert all(offset % alignment == 0 for offset in planned.offsets)
    work = accesses.training(training, program)
    assert max(live(work, range(len(work.tasks)))) >= found.peak_bytes


@settings(max_examples=15)
@given(SEEDS)
def test_any_legal_order_leads_to_the_same_peak(seed: int) -> None:
    """The search finds its way back from a random order, in which updates come late."""
    training, program = random_training(seed)
    first = report(schedule(training, program), program)
    again = report(schedule(shuffled(training, program, seed), program), program)
    assert again.forward_peak_bytes == first.forward_peak_bytes
    assert again.backward_peak_bytes == first.backward_peak_bytes


def test_same_plan_every_time() -> None:
    training, program = random_training(11)
    one, two = (schedule(training, program) for _ in range(2))
    assert (one.steps, one.offsets, one.arena_bytes) == (two.steps, two.offsets, two.arena_bytes)


def test_without_search_steps_stay() -> None:
    training, program = random_training(3)
    planned = schedule(training, program, search=False)
    check_training(planned, program, training)
    assert [s.kind for s in planned.steps] == [s.kind for s in training.steps]
    assert schedule(training, program).arena_bytes <= planned.arena_bytes


def test_scratch_of_forward_steps_is_placed() -> None:
    training, program = random_training(5)
    planned = schedule(training, program)
    steps = [step for step in planned.steps if step.kind == "forward"]
    for step in steps:
        assert step.attrs["scratch_bytes"] == program.ops[step.op].attrs["scratch_bytes"]
    assert any(step.attrs["scratch_bytes"] for step in steps)
    assert report(planned, program).peak_bytes >= max(step.attrs["scratch_bytes"] for step in steps)


@pytest.mark.parametrize("alignment", [0, 2, 24, -16])
def test_alignment_is_a_power_of_two(alignment: int) -> None:
    training, program = random_training(0)
    with pytest.raises(PlanError, match=f"alignment: expected a power of two from 4, got {alignment}"):
        schedule(training, program, alignment=alignment)


@real
def test_published_scheme_of_mcunet() -> None:
    """Lin et al.'s generator takes 180,224 B for this; 163,840 B are in use at once in its forward pass."""
    program, constants = lower(load_tinyml(FOLDER / "tinyml" / "mcunet-5fps", classes=10))
    bare = compact(program)
    training = differentiate(bare, constants, published("mcunet-5fps", "49KB"))
    planned = schedule(training, bare, alignment=16)
    found = report(planned, bare)
    assert planned.arena_bytes == found.peak_bytes == found.forward_peak_bytes == 163_840
    assert found.backward_peak_bytes < 120_000
    found = report(schedule(training, bare, alignment=16, in_place=True), bare)
    assert found.backward_peak_bytes <= 118_400  # of the generator's


def network(stride: int, trained: bool) -> tuple[Training, Program]:
    """x -> depthwise a -> depthwise b -> pointwise c; b's stride, and whether its weights are trained."""
    tensors = (Tensor("x", 4, 4, 16, 0.1, 0), Tensor("a", 4, 4, 16, 0.1, 0),
               Tensor("b", 4 // stride, 4 // stride, 16, 0.1, 0), Tensor("c", 1, 1, 3, 1.0, 0, 32))  # fmt: skip
    layers = (Layer("a", 8, 16, 1, 1, 16, 16, 0, 0, 0), Layer("b", 8, 16, 1, 1, 16, 16, 16, 16, 16),
              Layer("c", 8, 3, 4 // stride, 4 // stride, 16, 1, 32, 32, 32))  # fmt: skip
    ops = tuple(Op("conv2d", (i,), i + 1, {"stride_h": s, "stride_w": s, "scratch_bytes": 0}, i)
                for i, s in enumerate((1, stride, 1)))  # fmt: skip
    program = Program(tensors, ops, layers, 0, 3, (), 0)
    return Backward(program, 0, {1: 16} if trained else {}).training(), program


def test_a_depthwise_gradient_in_place() -> None:
    training, program = network(1, trained=False)
    apart, shared = (schedule(training, program, alignment=4, in_place=on) for on in (False, True))
    check_training(shared, program, training)
    steps = [step for step in shared.steps if step.attrs.get("in_place")]
    assert [(step.kind, step.op, step.attrs["scratch_bytes"]) for step in steps] == [("conv2d_grad", 1, 4 * 16 * 8)]
    assert shared.offsets[steps[0].inputs[0]] == shared.offsets[steps[0].output]
    found = report(apart, program).backward_peak_bytes, report(shared, program).backward_peak_bytes
    assert found[0] - found[1] == 4 * 4 * 4 * 16 - 4 * 16 * 8
    assert max(p.last for p in occupants(shared, program)) == len(shared.steps) - 1


@pytest.mark.parametrize(("stride", "trained"), [(2, False), (1, True)])
def test_not_where_sizes_differ_or_an_update_reads_it_later(stride: int, trained: bool) -> None:
    training, program = network(stride, trained)
    assert not any(step.attrs.get("in_place") for step in schedule(training, program, in_place=True).steps)


def test_the_checker_knows_what_may_be_in_place() -> None:
    training, program = network(1, trained=False)
    planned = schedule(training, program, in_place=True)
    at = next(i for i, step in enumerate(planned.steps) if step.attrs.get("in_place"))

    def spoiled(**attrs: int) -> Training:
        step = replace(planned.steps[at], attrs={**planned.steps[at].attrs, **attrs})
        return replace(planned, steps=(*planned.steps[:at], step, *planned.steps[at + 1 :]))

    check_training(spoiled(), program)
    with pytest.raises(PlanError, match="that adds to nothing"):
        check_training(spoiled(accumulate=1), program)
    with pytest.raises(PlanError, match="expected 512 bytes of scratch, got 508"):
        check_training(spoiled(scratch_bytes=508), program)
    with pytest.raises(PlanError, match="overlaps"):
        check_training(spoiled(in_place=0), program)
    offsets = list(planned.offsets)
    offsets[planned.steps[at].output] += 4
    with pytest.raises(PlanError, match="in place of"):
        check_training(replace(planned, offsets=tuple(offsets), arena_bytes=planned.arena_bytes + 4), program)
