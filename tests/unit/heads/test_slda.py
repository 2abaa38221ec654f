"""Streaming discriminant analysis: the covariance it keeps, the answers it gives, what forgetting leaves."""

import numpy as np
import pytest

from calibrant.core.errors import DataError
from calibrant.heads import Lesson, SldaSettings
from calibrant.heads.slda import Slda, cholesky, solved

rng = np.random.default_rng(1)
MIX = rng.normal(0, 1, (6, 6))
Y = np.repeat(np.arange(3), 40)
X = np.clip(120 + 12 * rng.normal(0, 1, (3, 6))[Y] + 10 * rng.normal(0, 1, (120, 6)) @ MIX, 0, 255).astype(np.int32)
NAMES = ("a", "b", "c")


def pooled(x, y):
    left = np.concatenate([x[y == c] - x[y == c].mean(0) for c in np.unique(y)])
    return left.T @ left / len(x)


def test_the_covariance_is_that_within_classes():
    head = Slda.new().learn(Lesson(X[:50], Y[:50], NAMES)).learn(Lesson(X[50:], Y[50:], NAMES))
    assert np.allclose(head.covariance, pooled(X.astype(float), Y), rtol=1e-9)


def test_answers_are_those_of_the_textbook():
    head = Slda.new(SldaSettings(0.05)).learn(Lesson(X, Y, NAMES))
    within = pooled(X.astype(float), Y)
    shrunk = 0.95 * within + 0.05 * np.trace(within) / 6 * np.eye(6)
    means = np.stack([X[c == Y].mean(0) for c in range(3)])
    weights = np.linalg.solve(shrunk, means.T).T
    scores = X @ weights.T - (weights * means).sum(1) / 2
    assert (head.classifier.predict(X) == scores.argmax(1)).all()
    made = head.classifier.scores(X).astype(float)
    assert np.allclose((made - made[:, :1]) / np.ptp(made), (scores - scores[:, :1]) / np.ptp(scores), atol=1e-5)


def test_forgetting_leaves_the_spread_that_all_classes_share():
    head = Slda.new().learn(Lesson(X, Y, NAMES))
    left = head.forget("b")
    assert np.allclose(left.covariance, head.covariance, atol=0.5 / 120)  # one rounding of a product
    assert left.spread_of == 120
    assert left.means.sums.tolist() == [X[c == Y].sum(0).tolist() for c in (0, 2)]


def test_one_sample_is_enough_for_a_class_and_one_class_for_a_head():
    head = Slda.new().learn(Lesson(X[:1], Y[:1], NAMES))
    assert head.classifier.predict(X[:3]).tolist() == [0, 0, 0]
    more = Slda.new().learn(Lesson(X[:80], Y[:80], NAMES)).learn(Lesson(X[80:81], Y[80:81], NAMES))
    assert more.classifier.predict(X[80:81]).tolist() == [2]


def test_factor_and_solution():
    matrix = MIX @ MIX.T + np.eye(6)
    assert np.allclose(cholesky(matrix), np.linalg.cholesky(matrix))
    right = rng.normal(0, 1, (6, 4))
    assert np.allclose(matrix @ solved(cholesky(matrix), right), right)


def test_settings_are_checked():
    with pytest.raises(DataError, match="slda: expected shrinkage 1e-06 to 1, got 0"):
        SldaSettings(0.0)
