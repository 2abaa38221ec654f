"""When windows without labels say enough, and what keeps learning from them in bounds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calibrant.policy.label_free import (
    BROAD,
    covers_classes,
    effective_classes,
    narrow,
    narrow_limit,
    prediction_collapse,
    rejection_reason,
)

counts = st.lists(st.integers(0, 400), min_size=2, max_size=12).map(lambda values: np.array(values, np.int64))


@given(st.integers(2, 12), st.integers(0, 500))
def test_one_class_is_never_broad(classes: int, samples: int):
    counts = np.zeros(classes, np.int64)
    counts[-1] = samples
    assert not covers_classes(counts, BROAD)


@given(st.integers(2, 40))
def test_all_classes_alike_are_broad_once_there_are_enough(classes: int):
    assert covers_classes(np.full(classes, 20), BROAD)
    assert not covers_classes(np.ones(classes, np.int64), BROAD)  # of so few nobody can say


@given(counts, st.randoms(use_true_random=False))
def test_names_of_classes_do_not_matter(predicted: np.ndarray, random: object):
    renamed = np.array(sorted(predicted.tolist(), key=lambda _: random.random()))  # type: ignore[attr-defined]
    assert covers_classes(renamed, BROAD) == covers_classes(predicted, BROAD)


@given(counts)
def test_predictions_are_narrow_below_the_limit_that_is_told(predicted: np.ndarray):
    enough = predicted.sum() >= max(24, 2 * predicted.size)
    assert narrow(predicted) == (enough and effective_classes(predicted) < narrow_limit(predicted.size))


@given(counts)
def test_the_same_predictions_have_not_fallen_together(predicted: np.ndarray):
    assert not prediction_collapse(predicted, predicted)


def test_predictions_may_not_fall_together():
    before = np.array([20, 20, 20])
    assert prediction_collapse(before, np.array([60, 0, 0]))
    assert not prediction_collapse(before, np.array([26, 20, 14]))


def test_losses_are_counted_from_the_artifact_and_flips_are_capped():
    assert rejection_reason(18, 20, 20, 0.1, 0, 100) is None
    assert "from 1.000 to 0.850" in str(rejection_reason(17, 20, 20, 0.1, 0, 100))
    assert rejection_reason(20, 20, 20, 0.1, 10, 100) is None
    assert "11 of 100 weights" in str(rejection_reason(20, 20, 20, 0.1, 11, 100))
