"""Which labels are believed: noise is left out, a change of meaning is not, halves that teach nothing are refused."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calibrant.policy.label_trust import BAD, HARD, credible, probabilities, suspicious, tolerated


def test_scattered_bad_labels_are_left_out():
    y = np.arange(60) % 6
    probability = np.full(60, 0.95)
    wrong = np.array([3, 17, 29, 41, 52])
    probability[wrong] = 0.01
    bad, doubt = suspicious(probability, probability > 0.5, y, np.zeros(60, bool), 0.05)
    assert np.flatnonzero(bad).tolist() == wrong.tolist()
    assert doubt == 5 / 60


def test_a_class_that_is_bad_as_a_whole_has_changed_its_meaning():
    y = np.arange(60) % 6
    probability = np.where(y == 2, 0.01, 0.95)
    bad, doubt = suspicious(probability, probability > 0.5, y, np.zeros(60, bool), 0.05)
    assert not bad.any()
    assert doubt == 0


def test_classes_that_nothing_is_known_of_contradict_nothing():
    y = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1])
    probability = np.where(y == 1, 0.9, 0.01)
    bad, doubt = suspicious(probability, probability > 0.5, y, y == 0, 0.05)
    assert not bad.any()
    assert doubt == 0


def test_a_few_hard_labels_are_no_doubt():
    probability = np.full(100, 0.9)
    probability[:5] = 0.01
    bad, doubt = suspicious(probability, probability > 0.5, np.arange(100) % 4, np.zeros(100, bool), 0.05)
    assert (bad.any(), doubt) == (False, 0.05)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=80), st.integers(0, 2**20))
def test_what_is_left_out_is_improbable_and_not_predicted(values, seed):
    rng, probability = np.random.default_rng(seed), np.array(values)
    right, y = rng.random(probability.size) < 0.5, rng.integers(0, 5, probability.size)
    bad, doubt = suspicious(probability, right, y, np.zeros(probability.size, bool), 0.05)
    assert (probability[bad] < BAD).all()
    assert not right[bad].any()
    assert 0 <= doubt <= (probability < HARD).mean()


def test_an_exam_asks_for_a_quarter_of_what_is_missing():
    assert credible(0.6, 0.7, 10) == (True, 0.7)
    assert credible(0.6, 0.69, 10)[0] is False
    assert credible(0.0, 0.3, 4)[0] is False  # chance is where it starts


def test_the_artifacts_own_errors_are_tolerated():
    assert tolerated(0.0) == 0.05
    assert tolerated(0.25) == 0.52


def test_probabilities_add_up_however_large_scores_are():
    share = probabilities(np.array([[1e4, 0, -1e4], [0, 0, 0]], np.float32))
    np.testing.assert_allclose(share.sum(axis=1), 1)
    assert share[0, 0] == 1
