"""Places of samples, their sums and distances."""

from __future__ import annotations

import json

import numpy as np
import pytest

from calibrant.core.errors import StateError
from calibrant.core.rng import generator
from calibrant.policy.place import MOST, Place, apart
from calibrant.policy.signature import ONE


def signatures(count: int, dimensions: int = 30, seed: int = 0) -> np.ndarray:
    return generator(seed, "places").normal(40, 300, (count, dimensions)).astype(np.int16)


def test_mean_variance_and_distance_are_those_of_real_arithmetic():
    a, b = signatures(50), signatures(20, seed=1)
    assert Place.of(a).mean == pytest.approx(a.mean(axis=0))
    assert Place.of(a).variance == pytest.approx(a.var(axis=0, ddof=1).mean() / ONE**2)
    between = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).mean() / ONE**2
    assert apart(Place.of(a), Place.of(b)) == pytest.approx(between, rel=1e-4)


def test_no_order_matters():
    a, rows, columns = signatures(70, 500), *(generator(2, "order").permutation(n) for n in (70, 500))
    there, again = Place.of(a), Place.of(a[rows][:, columns])
    assert (again.variance, again.squares) == (there.variance, there.squares)
    assert apart(again, Place.empty(500)) == apart(there, Place.empty(500))


def test_samples_join_until_all_count_less():
    a, b = signatures(150), signatures(250, seed=1)
    both, joined = Place.of(np.concatenate([a, b])), Place.of(b).joined(Place.of(a))
    assert joined.memory() == both.memory()
    more = Place.of(signatures(100, seed=2)).joined(joined)
    assert more.samples == MOST
    assert more.mean == pytest.approx((both.total + signatures(100, seed=2).sum(axis=0)) / 500, abs=1 / MOST)
    assert more.variance == pytest.approx(both.variance, rel=0.1)
    assert Place.of(a[:1]).variance == Place.empty(30).variance == 0


def test_its_memory_gives_it_again():
    place = Place.of(signatures(9))
    kept = json.loads(json.dumps(place.memory()))
    assert Place.kept(kept, 30, "here").memory() == place.memory()


@pytest.mark.parametrize(
    "change",
    [
        {"samples": -1},
        {"samples": MOST + 1},
        {"samples": 9.0},
        {"total": [0] * 29},
        {"total": "0" * 30},
        {"total": [0] * 29 + [True]},
        {"total": [0] * 29 + [10 * 2**15]},
        {"squares": -1},
        {"squares": 2**60},
        {"squares": None},
    ],
)
def test_nonsense_is_refused(change: dict[str, object]):
    with pytest.raises(StateError, match=r"^here field '.*state is damaged"):
        Place.kept(Place.of(signatures(9)).memory() | change, 30, "here")
