"""Which labels to ask for: doubtful, spread out, new, and the same whatever the order of the samples."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.rng import generator
from calibrant.core.task import find
from calibrant.policy.active_learning import choose, margin_uncertainty


def clusters(seed, each, centers=5):
    rng = generator(seed, "clusters")
    angle = np.repeat(np.arange(centers), each) * 2 * np.pi / centers + rng.normal(0, 0.02, centers * each)
    return np.rint(4096 * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.int64)


def test_every_cluster_is_asked_about_once_before_any_twice():
    features = clusters(0, 8)
    chosen = choose(features, np.full(40, 1000), features[:0], 5)
    assert sorted(chosen // 8) == [0, 1, 2, 3, 4]


def test_what_is_known_is_not_asked_about():
    features = clusters(1, 8)
    chosen = choose(features, np.full(40, 1000), features[[0, 9, 17]], 2)
    assert sorted(chosen // 8) == [3, 4]


def test_within_a_cluster_the_doubtful_sample_is_asked_about():
    features = np.array([[4096, 0], [4095, 2], [0, 4096]])
    assert set(choose(features, np.array([100, 5000, 5000]), features[:0], 2).tolist()) == {1, 2}


@given(st.integers(0, 50), st.integers(1, 12))
def test_order_makes_no_difference(seed, n):
    rng = generator(seed, "order")
    features, doubt = rng.integers(-3, 4, (12, 2)), rng.integers(1, 4, 12)
    order = rng.permutation(12)
    first = choose(features, doubt, features[:1], n)
    second = order[choose(features[order], doubt[order], features[:1], n)]
    rows = [np.column_stack([features, doubt])[chosen] for chosen in (first, second)]
    assert np.array_equal(*rows)
    assert len(set(first.tolist())) == n


def test_doubt_is_the_missing_margin():
    scores = np.array([[0.0, 0.0, -50.0], [2.0, 0.0, 0.0], [50.0, 0.0, 0.0]], np.float32)
    unsure, leaning, sure = margin_uncertainty(find("classes").probabilities(scores)).tolist()
    assert (unsure, sure) == (32768 + 2048, 2048)
    top, second = np.exp(2) / (np.exp(2) + 2), 1 / (np.exp(2) + 2)
    assert abs(leaning - (32768 * (1 - top + second) + 2048)) < 4
