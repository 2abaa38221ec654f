"""Splits and streams: disjoint, seeded, without neighbors on both sides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant import data
from calibrant.core.errors import DataError
from calibrant.data.usc_had import held_recordings


def domain(samples: int = 50) -> data.Domain:
    n = np.arange(samples)
    return data.Domain(
        n[:, None, None].astype(np.float32), n % 5, n // 5, n // 5 >= samples // 5 - 2, ("a",) * 5, "toy"
    )


@pytest.mark.parametrize("how", data.SPLITS)
def test_a_split_covers_everything_once(how):
    train, test = data.split(domain(), how, seed=3)
    assert sorted([*train, *test]) == list(range(50))
    assert len(test) == 10


def test_random_split_depends_on_seed_only():
    first, again, other = (data.split(domain(), "random", seed)[0].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_unknown_split_is_refused():
    with pytest.raises(DataError, match=r"split: expected one of segment, random, got 'fold'"):
        data.split(domain(), "fold")


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 3))
def test_recordings_stay_whole(counts, classes):
    recording = np.repeat(np.arange(len(counts) * classes), counts * classes)
    y = recording // len(counts)
    held = held_recordings(y, recording)
    for number in np.unique(recording):
        assert len(set(held[recording == number].tolist())) == 1
    for label in np.unique(y):
        share = held[y == label].mean()
        assert (share == 0) == (len(counts) == 1)
        assert share < 1


@given(st.integers(20, 200), st.integers(1, 10), st.integers(0, 5))
def test_windows_are_disjoint_and_equal(samples, count, seed):
    x, y = np.arange(samples), np.arange(samples) % 3
    parts = data.windows(x, y, count=count, seed=seed)
    assert [len(part) for part, _ in parts] == [samples // count] * count
    seen = np.concatenate([part for part, _ in parts])
    assert len(set(seen.tolist())) == len(seen)
    for part, labels in parts:
        assert (labels == y[part]).all()


def test_windows_by_size():
    parts = data.windows(np.arange(10), np.zeros(10, np.int64), size=3)
    assert [len(x) for x, _ in parts] == [3, 3, 3]
    assert len(data.windows(np.arange(10), np.zeros(10, np.int64), size=3, count=2)) == 2


@pytest.mark.parametrize(
    "arguments", [{}, {"count": 11}, {"size": 11}, {"size": 0}, {"count": 0}, {"count": 4, "size": 3}]
)
def test_impossible_windows_are_refused(arguments):
    with pytest.raises(DataError, match="stream: expected"):
        data.windows(np.arange(10), np.zeros(10, np.int64), **arguments)
