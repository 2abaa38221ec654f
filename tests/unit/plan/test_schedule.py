"""Planned trainings: legal, apart in memory, as small as what is in use at once allows."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.autodiff import differentiate, published
from calibrant.core.errors import PlanError
from calibrant.core.rng import generator
from calibrant.core.training import Training
from calibrant.plan import accesses, check_training, compact, lower, report, schedule
from calibrant.plan.order import live, predecessors
from calibrant.zoo import load_tinyml
from trainings import random_training

FOLDER = Path(os.environ.get("CALIBRANT_DATA", Path(__file__).parents[4] / "shared" / "data"))
real = pytest.mark.skipif(not (FOLDER / "tinyml").is_dir(), reason=f"no tinyml in {FOLDER}; set CALIBRANT_DATA")
SEEDS = st.integers(0, 400)


def shuffled(training: Training, program, seed: int) -> Training:
    """The same steps in a random legal order."""
    before = predecessors(accesses.training(training, program))
    rng, order, done = generator(seed, "shuffle"), [], 0
    while len(order) < len(before):
        ready = [i for i, bits in enumerate(before) if not done >> i & 1 and not bits & ~done]
        order.append(ready[int(rng.integers(len(ready)))])
        done |= 1 << order[-1]
    return replace(training, steps=tuple(training.steps[i] for i in order))


@settings(max_examples=25)
@given(SEEDS, st.sampled_from((4, 16, 64)))
def test_random_trainings(seed: int, alignment: int) -> None:
    training, program = random_training(seed)
    planned = schedule(training, program, alignment=alignment)
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
