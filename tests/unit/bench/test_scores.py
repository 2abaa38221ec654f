"""Scores against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from calibrant.bench.reports import scores
from calibrant.core.rng import generator


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed):
    rng = generator(seed, "test")
    y, predicted = rng.integers(0, 4, 50), rng.integers(seed % 2, 6, 50)
    assert scores.accuracy(predicted, y) == pytest.approx(accuracy_score(y, predicted))
    assert scores.macro_f1(predicted, y) == pytest.approx(f1_score(y, predicted, average="macro"))


def test_a_rare_class_counts_as_much_as_a_common_one():
    y = np.array([0] * 9 + [1])
    assert scores.accuracy(np.zeros(10, np.int64), y) == 0.9
    assert scores.macro_f1(np.zeros(10, np.int64), y) < 0.5
