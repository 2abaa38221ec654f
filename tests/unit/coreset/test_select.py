"""Coreset rules: sizes, repetition, balance, what they prefer, determinism, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.coreset import RULES, features, select
from calibrant.coreset.quota import equal_shares, largest_remainder

BY_MISSES = [name for name, rule in RULES.items() if rule.needs == "misses"]


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(RULES)),
    st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 3)), min_size=1, max_size=40),
    st.booleans(),
    st.data(),
)
def test_every_rule_gives_distinct_sorted_indices(rule, samples, quotas, data):
    y, misses = np.array(samples).T
    # Many equal rows: clusters cannot all have a point of their own.
    inputs = np.stack([y, misses], axis=1).astype(np.float32)
    size = data.draw(st.integers(1, len(y)))
    seed = data.draw(st.integers(0, 1000))
    chosen = select(rule, y, size, seed, misses, inputs, quotas)
    assert len(chosen) == size
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < len(y)
    assert chosen.tolist() == select(rule, y, size, seed, misses, inputs, quotas).tolist()


def test_balanced_serves_rare_classes_first():
    y = np.array([0] * 50 + [1] * 3 + [2] * 10)
    assert np.bincount(y[select("balanced", y, 15, seed=3)]).tolist() == [6, 3, 6]


@pytest.mark.parametrize("rule", BY_MISSES)
@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=5, max_size=80), st.data())
def test_quotas_are_equal_shares_of_the_classes(rule, samples, data):
    y, misses = np.array(samples).T
    held = np.bincount(y, minlength=5)
    size = data.draw(st.integers(1, len(y)))
    counts = np.bincount(y[select(rule, y, size, 0, misses)], minlength=5)
    for some in range(5):
        for other in range(5):
            assert counts[some] >= min(held[some], counts[other] - 1)  # nobody has two more unless the class is used up


@pytest.mark.parametrize("rule", BY_MISSES)
def test_without_quotas_misses_alone_decide(rule):
    y = np.repeat([0, 1], 50)
    misses = np.where(y == 1, 3, 0)
    chosen = select(rule, y, 10, 0, misses, quotas=False)
    assert np.bincount(y[chosen]).tolist() == ([0, 10] if rule == "misses" else [5, 5])


@pytest.mark.parametrize("quotas", [True, False])
@pytest.mark.parametrize("rule", BY_MISSES)
def test_never_learned_samples_come_last(rule, quotas):
    y = np.repeat([0, 1], 10)
    misses = np.where(np.arange(20) % 10 < 7, -1, np.arange(20) % 3)
    learned = np.flatnonzero(misses >= 0)
    assert set(select(rule, y, 6, 0, misses, quotas=quotas)) == set(learned)
    assert set(learned) < set(select(rule, y, 8, 0, misses, quotas=quotas))


@pytest.mark.parametrize("quotas", [True, False])
def test_misses_are_drawn_in_proportion_and_before_the_rest(quotas):
    y = np.zeros(40, np.int64)
    misses = np.zeros(40, np.int64)
    misses[:2] = 9, 1
    first = [int(select("misses", y, 1, seed, misses, quotas=quotas)[0]) for seed in range(400)]
    assert set(first) == {0, 1}
    assert 0.05 < np.mean(np.array(first) == 1) < 0.16  # expected 0.1, standard error 0.015
    rest = np.concatenate([select("misses", y, 5, seed, misses, quotas=quotas) for seed in range(100)])
    counts = np.bincount(rest, minlength=40)
    assert counts[:2].tolist() == [100, 100]
    assert counts[2:].max() < 25  # the other three are drawn uniformly: expected 8 each


@pytest.mark.parametrize("rule", BY_MISSES)
def test_no_misses_at_all_is_a_uniform_choice(rule):
    y = np.repeat(np.arange(4), 5)
    chosen = [select(rule, y, 4, seed, np.zeros(20, np.int64)) for seed in range(60)]
    assert len(np.unique(np.concatenate(chosen))) == 20
    assert all(np.bincount(y[some]).tolist() == [1, 1, 1, 1] for some in chosen)


def test_histogram_is_that_of_the_data_with_and_without_quotas():
    rng = generator(0, "test")
    y = np.repeat(np.arange(5), 60)
    misses = rng.permutation(np.repeat([0, 1, 2, 7], [150, 90, 45, 15]))
    for quotas in (True, False):
        for seed in range(5):
            chosen = select("histogram", y, 20, seed, misses, quotas=quotas)
            assert np.unique(misses[chosen], return_counts=True)[1].tolist() == [10, 6, 3, 1]
            if quotas:
                assert np.bincount(y[chosen]).tolist() == [4] * 5


def test_histogram_rearranges_classes_until_both_margins_fit():
    # Class 0 has easy samples only, class 1 both kinds, so class 1 must take every hard seat.
    y = np.repeat([0, 1], [10, 10])
    misses = np.array([0] * 10 + [0] * 4 + [2] * 6)
    for seed in range(20):
        chosen = select("histogram", y, 10, seed, misses)
        assert np.bincount(y[chosen]).tolist() == [5, 5]
        assert np.bincount(misses[chosen]).tolist() == [7, 0, 3]


def test_histogram_gives_way_to_quotas():
    y = np.repeat([0, 1], [2, 18])
    misses = np.repeat([5, 0], [2, 18])
    chosen = select("histogram", y, 4, 0, misses)
    assert np.bincount(y[chosen]).tolist() == [2, 2]


def test_kmeans_takes_the_middle_of_every_cluster():
    rng = generator(0, "test")
    centers = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32)
    inputs = np.concatenate([center + rng.normal(0, 0.5, (25, 2)) for center in centers]).astype(np.float32)
    inputs[::25] = centers
    chosen = select("kmeans", np.zeros(100, np.int64), 4, 0, features=inputs)
    assert (chosen // 25).tolist() == [0, 1, 2, 3]
    assert np.abs(inputs[chosen] - centers).max() < 0.35


def test_features_are_means_of_segments():
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 16)
    assert features(x).tolist() == [[0.5, 2.5, 4.5, 6.5, 8.5, 10.5, 12.5, 14.5]]
    assert features(x.reshape(1, 16)).tolist() == [list(range(16))]


@pytest.mark.parametrize("rule", sorted(RULES))
def test_seeds_differ(rule):
    rng = generator(0, "test")
    y, misses = np.zeros(100, np.int64), rng.integers(0, 4, 100)
    inputs = rng.normal(size=(100, 2)).astype(np.float32)
    assert select(rule, y, 10, 0, misses, inputs).tolist() != select(rule, y, 10, 1, misses, inputs).tolist()


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(any), st.data())
def test_seats_are_whole_and_within_one_of_the_share(counts, data):
    held = np.array(counts)
    size = data.draw(st.integers(1, int(held.sum())))
    proportional = largest_remainder(held, size)
    assert proportional.sum() == size
    assert (np.abs(proportional - size * held / held.sum()) < 1).all()
    equal = equal_shares(held, size, generator(0, "test"))
    assert equal.sum() == size
    assert (equal <= held).all()
    assert equal.max() - equal[equal < held].min(initial=equal.max()) <= 1


@pytest.mark.parametrize("size", [0, -1, 5])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(DataError, match="expected 1 to 4"):
        select("random", np.zeros(4, np.int64), size, 0)


def test_unknown_rule_is_refused_with_the_known_ones():
    with pytest.raises(DataError, match=r"random, balanced, misses, histogram, kmeans, got 'best'"):
        select("best", np.zeros(4, np.int64), 2, 0)


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if rule.needs])
def test_a_rule_refuses_to_guess_what_it_needs(rule):
    with pytest.raises(DataError, match=f"'{rule}': expected {RULES[rule].needs} of the training samples, got none"):
        select(rule, np.zeros(4, np.int64), 2, 0)


def test_misses_and_features_of_other_samples_are_refused():
    y = np.zeros(4, np.int64)
    with pytest.raises(DataError, match=r"misses: expected integers of shape \(4,\), got shape \(3,\)"):
        select("misses", y, 2, 0, np.zeros(3, np.int64))
    with pytest.raises(DataError, match="got dtype float64"):
        select("misses", y, 2, 0, np.zeros(4))
    with pytest.raises(DataError, match="features: expected 4 rows, one a training sample, got 5"):
        select("kmeans", y, 2, 0, features=np.zeros((5, 2), np.float32))
