"""When windows without labels say enough, and what keeps learning from them in bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts import make_artifact
from calibrant.core.program import Program
from calibrant.core.rng import generator
from calibrant.core.statistics import FeatureStatistics
from calibrant.policy.label_free import (
    BROAD,
    BROADER,
    DomainDistance,
    Evidence,
    covers_classes,
    effective_classes,
    enough,
    prediction_collapse,
    rejection_reason,
)


def evidence(classes: np.ndarray, count: int, pooled: np.ndarray | None = None) -> Evidence:
    """A window whose samples are predicted to be of these classes."""
    scores = np.eye(count, dtype=np.float32)[classes]
    statistics = np.zeros((len(classes), 4), np.int32) if pooled is None else pooled
    return Evidence.of(statistics, scores.argmax(axis=1), scores.shape[1])


@given(st.integers(2, 12), st.integers(0, 500))
def test_one_class_is_never_broad(classes: int, samples: int):
    counts = np.zeros(classes, np.int64)
    counts[-1] = samples
    assert not covers_classes(counts, BROAD)


@given(st.integers(2, 40))
def test_all_classes_alike_are_broad_once_there_are_enough(classes: int):
    assert covers_classes(np.full(classes, 20), BROADER)
    assert not covers_classes(np.ones(classes, np.int64), BROAD)  # of so few nobody can say


def test_effective_classes_do_not_depend_on_names():
    counts = np.array([9, 0, 4, 30])
    assert effective_classes(counts) == effective_classes(counts[::-1])
    assert 1.5 < effective_classes(counts) < 3


def test_small_windows_add_up_to_a_large_one():
    rng = generator(0, "small windows")
    y, pooled = rng.integers(0, 5, 60), rng.integers(-90, 90, (60, 4)).astype(np.int32)
    whole = evidence(y, 5, pooled)
    parts: Evidence | None = None
    for part in np.array_split(rng.permutation(60), 9):
        parts = evidence(y[part], 5, pooled[part]).after(parts)
    assert parts is not None
    assert parts.samples == 60
    assert np.array_equal(parts.pooled, whole.pooled)
    assert np.array_equal(parts.predicted, whole.predicted)


def test_old_evidence_fades():
    old = evidence(np.zeros(600, np.int64), 3)
    both = evidence(np.ones(10, np.int64), 3).after(old)
    assert both.predicted.tolist() == [300, 10, 0]


def test_classes_that_come_one_after_the_other_must_be_more():
    order = np.repeat(np.arange(3), 20)
    classes = 8  # three of eight: enough for a mixed stream, not where each window is of one class
    streams = {"sorted": order, "mixed": generator(0, "mixed").permutation(order)}
    told = {}
    for name, y in streams.items():
        together: Evidence | None = None
        for part in np.split(y, 3):
            together = evidence(part, classes).after(together)
        assert together is not None
        told[name] = together.mixed, enough(together)
    assert told == {"sorted": (False, False), "mixed": (True, True)}
    assert enough(evidence(np.tile(np.arange(classes), 10), classes))


def test_predictions_may_not_fall_together():
    before = np.array([20, 20, 20])
    assert prediction_collapse(before, np.array([60, 0, 0]))
    assert not prediction_collapse(before, np.array([26, 20, 14]))


@pytest.fixture
def place() -> tuple[DomainDistance, Program]:
    program = make_artifact().program
    count = program.pooled_count
    return DomainDistance(program, FeatureStatistics.of(np.full(count, 5.0), np.full(count, 16.0))), program


def window(program: Program, shift: float, samples: int = 90, seed: int = 0) -> Evidence:
    """Three classes, mean inputs `shift` standard deviations from the training samples'."""
    rng = generator(seed, "place")
    mean = rng.normal(5 + 4 * shift, 4, (samples, program.pooled_count))
    return evidence(np.arange(samples) % 3, 3, np.rint(mean * program.pooled_positions).astype(np.int32))


@pytest.mark.parametrize("samples", [40, 90, 600])
def test_training_samples_are_as_usual_and_shifted_ones_are_not(place: tuple[DomainDistance, Program], samples: int):
    where, program = place
    assert where.usual(window(program, 0, samples))
    assert not where.usual(window(program, 0.6, samples))


def test_another_domain_is_told_from_the_same(place: tuple[DomainDistance, Program]):
    where, program = place
    domain = window(program, 1.0)
    assert not where.is_new_domain(window(program, 1.0, seed=1), domain)
    assert not where.is_new_domain(window(program, 1.3, seed=1), domain)
    assert where.is_new_domain(window(program, -1.0, seed=1), domain)
    assert where.is_new_domain(window(program, 0.0, seed=1), domain)  # back at the training samples


def test_a_quiet_channel_or_a_dead_sensor_does_not_rule():
    program = make_artifact().program
    variance = np.full(program.pooled_count, 16.0)
    variance[0] = 0
    where = DomainDistance(program, FeatureStatistics.of(np.full(program.pooled_count, 5.0), variance))
    seen = window(program, 0.0)
    seen.pooled[0] = 5 * seen.samples * program.pooled_positions[0]
    assert where.usual(seen)
    seen.pooled[0] = 2**50
    assert not where.usual(seen)


def test_losses_are_counted_from_the_anchor_and_flips_are_capped():
    assert rejection_reason(18, 20, 20, 0.1, 0, 100) is None
    assert "from 1.000 to 0.850" in str(rejection_reason(17, 20, 20, 0.1, 0, 100))
    assert rejection_reason(20, 20, 20, 0.1, 10, 100) is None
    assert "11 of 100 weights" in str(rejection_reason(20, 20, 20, 0.1, 11, 100))
