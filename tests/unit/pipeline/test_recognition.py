"""How far home strays, measured where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.pipeline import recognition
from calibrant.policy.contexts import Contexts
from calibrant.policy.place import Place
from calibrant.policy.signature import Whitening

KINDS = (slice(0, 6), slice(6, 12))


def samples(wander: float, takes: int = 16, each: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Statistics that vary together within a take, by 1 in all directions, and whose mean moves from take to take."""
    rng = generator(seed, "takes")
    take = np.repeat(np.arange(takes), each)
    free = rng.normal(0, 1, (takes * each, 12)) + wander**0.5 * rng.normal(0, 1, (takes, 12))[take]
    mixed = free @ generator(99, "mix").normal(0, 1, (12, 12)) + 5
    return mixed, np.zeros(len(take), np.int64), take


def test_where_home_does_not_wander_nothing_but_chance_is_left():
    found = recognition.measure(samples(0.0)[0], KINDS, *samples(0.0)[1:])
    assert found.wander < 0.005
    assert found.usual == pytest.approx(1, abs=0.15)
    assert found.recognizes


def test_wandering_is_told_from_chance():
    found = recognition.measure(samples(0.2)[0], KINDS, *samples(0.2)[1:])
    assert found.wander == pytest.approx(0.1 / 1.2, rel=0.6)  # parts are of two takes, which halves it
    assert found.recognizes


def test_other_takes_of_home_are_home_and_other_places_are_not():
    given, y, take = samples(0.2, takes=12, each=80)
    earlier = take < 8
    found = recognition.measure(given[earlier], KINDS, y[earlier], take[earlier])
    contexts, whiten = Contexts.of(found), Whitening.of(found)
    later = [whiten(given[take == t]) for t in range(8, 12)]
    assert [contexts.recognize(Place.of(window)).context for window in later] == [0] * 4
    away = given + 3 * np.eye(12)[3] * given.std(axis=0)
    assert [contexts.recognize(Place.of(whiten(away[take == t]))).context for t in range(8, 12)] == [None] * 4


def test_the_matrix_makes_training_samples_uncorrelated():
    given, y, take = samples(0.0)
    found = recognition.measure(given, KINDS, y, take)
    signatures = Whitening.of(found)(given) / 256
    covariance = np.cov(signatures.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.3
    assert found.variance == pytest.approx(signatures.var(axis=0).mean(), rel=0.02)
    assert np.array_equal(found.matrix, np.tril(found.matrix).astype(np.float16).astype(np.float32))


def test_a_statistic_that_never_varies_counts_as_quiet():
    given, y, take = samples(0.0)
    given[:, 3] = 7.0
    found = recognition.measure(given, KINDS, y, take)
    assert found.spread[3] == pytest.approx(found.spread[:6].max() / 16)
    assert np.isfinite(found.matrix).all()


def test_stretches_that_no_two_classes_share_still_come_apart_by_time():
    take = samples(0.2)[2]
    y = take % 2  # each take is of one class
    assert sorted(set(recognition.folds(y, take).tolist())) == list(range(8))
    for label in (0, 1):
        parts = recognition.folds(y, take)[y == label]
        assert (np.diff(parts) >= 0).all()


def test_too_few_samples_or_too_many_dimensions_say_nothing():
    given, y, take = samples(0.0)
    assert recognition.measure(given[:100], KINDS, y[:100], np.arange(100)) is None
    assert recognition.measure(given[:96], KINDS, y[:96], np.repeat([0, 1], 48)) is None
    wide = np.zeros((640, recognition.WIDEST + 1))
    assert recognition.measure(wide, (slice(0, 513),), y, take) is None


def test_nothing_that_varies_gives_numbers_all_the_same():
    found = recognition.measure(np.ones((640, 12)), KINDS, *samples(0.0)[1:])
    assert found.variance > 0
    assert found.deviation > 0
    assert np.isfinite(found.matrix).all()


@pytest.mark.parametrize("blocks", [np.zeros(3, np.int64), np.zeros((4, 1), np.int64), np.zeros(4), ["a"] * 4])
def test_blocks_are_one_whole_number_a_sample(blocks: object):
    with pytest.raises(DataError, match=r"blocks: expected (4 )?integers"):
        recognition.check_blocks(blocks, 4)
