"""Coreset rules: sizes, repetition, balance, determinism, refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.errors import DataError
from calibrant.coreset import RULES, select


@given(st.sampled_from(sorted(RULES)), st.lists(st.integers(0, 6), min_size=1, max_size=60), st.data())
def test_every_rule_gives_distinct_sorted_indices(rule, labels, data):
    y = np.array(labels)
    size = data.draw(st.integers(1, len(y)))
    seed = data.draw(st.integers(0, 1000))
    chosen = select(rule, y, size, seed)
    assert len(chosen) == size
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < len(y)
    assert chosen.tolist() == select(rule, y, size, seed).tolist()


def test_balanced_serves_rare_classes_first():
    y = np.array([0] * 50 + [1] * 3 + [2] * 10)
    assert np.bincount(y[select("balanced", y, 15, seed=3)]).tolist() == [6, 3, 6]


def test_seeds_differ():
    y = np.zeros(100, np.int64)
    assert select("random", y, 10, 0).tolist() != select("random", y, 10, 1).tolist()


@pytest.mark.parametrize("size", [0, -1, 5])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(DataError, match="expected 1 to 4"):
        select("random", np.zeros(4, np.int64), size, 0)


def test_unknown_rule_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match=r"random, balanced.*got 'best'"):
        select("best", np.zeros(4, np.int64), 2, 0)
