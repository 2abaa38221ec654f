"""The coreset on the device: who stays, who comes, and that order does not matter."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.nibbles import rounded
from calibrant.core.rng import generator
from calibrant.core.statistics import Coreset
from calibrant.memory.replay import NEVER, UNTRIED, ReplayBuffer, identities, resample, update_misses

CLASSES = 4


def codes(n: int, seed: int) -> np.ndarray:
    return generator(seed, "codes").integers(-128, 128, (n, 1, 5, 2)).astype(np.int8)


def origin(n: int = 8, bits: int = 8) -> ReplayBuffer:
    return ReplayBuffer.of(Coreset(codes(n, 0), np.arange(n, dtype=np.int64) % CLASSES, bits))


def window(
    pool: ReplayBuffer, n: int, seed: int = 1, misses: int = 0, labels: np.ndarray | None = None
) -> ReplayBuffer:
    y = generator(seed, "labels").integers(0, CLASSES, n).astype(np.int64) if labels is None else labels
    fresh = pool.of_stream(codes(n, seed + 100), y, version=seed)
    return replace(fresh, misses=np.full(n, misses, np.int64))


def same(a: ReplayBuffer, b: ReplayBuffer) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def shuffled(pool: ReplayBuffer, seed: int) -> ReplayBuffer:
    return pool.take(generator(seed, "order").permutation(len(pool)))


@given(
    st.integers(0, 12),
    st.integers(1, 60),
    st.integers(1, 30),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.integers(0, 99),
    st.sampled_from([8, 4]),
)
def test_order_does_not_matter_and_sizes_are_kept(n: int, size: int, capacity: int, share: float, seed: int, bits: int):
    pool = origin(n, bits)
    for step in range(3):
        fresh = window(pool, size, seed + step, misses=step)
        drawn = resample(pool, fresh, capacity, share)
        assert same(drawn, resample(pool, shuffled(fresh, seed), capacity, share))
        assert len(drawn) == min(capacity, len(pool) + len(set(fresh.id.tolist()) - set(pool.id.tolist())))
        assert len(set(drawn.id.tolist())) == len(drawn)
        assert np.array_equal(drawn.id, identities(drawn.x, drawn.y))
        assert drawn.of_source >= min(round(share * capacity), pool.of_source)
        assert np.array_equal(np.sort(drawn.source)[::-1], drawn.source)  # the artifact's come first
        pool = drawn


def test_free_room_is_filled_before_anything_leaves():
    pool = origin(8)
    first = resample(pool, window(pool, 3, 1), 20, 0.5)
    assert (len(first), first.of_source) == (11, 8)
    full = resample(first, window(pool, 30, 2), 20, 0.5)
    assert set(first.id.tolist()) <= set(full.id.tolist())
    assert len(full) == 20
    assert resample(full, window(pool, 30, 3), 20, 0.5).of_source == 8


@pytest.mark.parametrize(("share", "left"), [(0.0, 0), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_the_artifact_keeps_its_share(share: float, left: int):
    pool = origin(8)
    for seed in range(6):
        pool = resample(pool, window(pool, 40, seed, misses=9), 8, share)
    assert (len(pool), pool.of_source) == (8, left)


def test_the_artifact_leaves_only_for_samples_that_need_the_place():
    pool = origin(8)
    drawn = resample(pool, window(pool, 2), 8, 0.25)
    assert (len(drawn), drawn.of_source) == (8, 6)


def test_every_class_has_a_place_before_one_has_two():
    pool = origin(8)
    common = window(pool, 60, 1, misses=20, labels=np.zeros(60, np.int64))
    rare = window(pool, 3, 2, labels=np.array([1, 2, 3]))
    drawn = resample(pool, common.and_also(rare), 8, 0.0)
    assert set(drawn.y.tolist()) == {0, 1, 2, 3}
    unseen = window(pool, 1, 3, labels=np.array([CLASSES]))
    assert CLASSES in resample(pool, common.and_also(unseen), 8, 0.5).y


def test_source_and_stream_complement_each_other():
    pool = ReplayBuffer.of(Coreset(codes(4, 0), np.arange(4, dtype=np.int64)))
    fresh = window(pool, 40, 1, labels=np.arange(40) % 4)
    assert sorted(resample(pool, fresh, 4, 0.5).y.tolist()) == [0, 1, 2, 3]


def test_missed_samples_are_drawn_more_often():
    chosen = 0
    for seed in range(60):
        pool = ReplayBuffer.of(Coreset(codes(1, seed), np.zeros(1, np.int64)))
        labels = np.zeros(40, np.int64)
        easy, hard = window(pool, 40, seed, 0, labels), window(pool, 40, seed + 1000, 9, labels)
        drawn = resample(pool, easy.and_also(hard), 11, 0.0)
        chosen += int(np.isin(drawn.id, hard.id).sum())
    assert 0.75 < chosen / 600 < 0.95  # ten tickets against one; without replacement a little below 10/11


def test_never_learned_samples_come_last():
    pool = origin(8)
    noise, fine = window(pool, 80, 1, misses=NEVER), window(pool, 3, 2)
    drawn = resample(pool, noise.and_also(fine), 8, 0.0)
    assert not np.isin(drawn.id, noise.id).any()
    assert drawn.of_source == 5  # the artifact's samples do not give way to them
    assert len(resample(pool, noise, 20, 0.5)) == 20  # but they may fill what is free


def test_a_reservoir_does_not_prefer_the_latest():
    share = []
    for seed in range(40):
        start = ReplayBuffer.of(Coreset(codes(1, seed), np.zeros(1, np.int64)))
        pool = start
        windows = [window(start, 10, 50 * seed + step, labels=np.zeros(10, np.int64)) for step in range(10)]
        for fresh in windows:
            pool = resample(pool, fresh, 10, 0.0)
        share.append(np.mean(np.isin(pool.id, windows[-1].id)))
        together = start
        for fresh in windows:
            together = together.and_also(fresh)
        at_once = resample(start, together.take(np.flatnonzero(~together.source)), 10, 0.0)
        assert np.isin(at_once.id, pool.id).mean() > 0.8  # however it is cut into windows
    assert 0.05 < np.mean(share) < 0.2


def test_the_same_sample_is_kept_once_and_a_new_label_is_another_sample():
    pool = origin(8)
    again = window(pool, 3, labels=np.zeros(3, np.int64))
    again = pool.of_stream(np.concatenate([pool.x[:2], again.x]), np.concatenate([pool.y[:2], again.y]), 1)
    drawn = resample(pool, again.and_also(again), 30, 0.5)
    assert (len(drawn), drawn.of_source) == (11, 8)
    relabeled = pool.of_stream(pool.x[:1], (pool.y[:1] + 1) % CLASSES, 1)
    assert len(resample(pool, relabeled, 30, 0.5)) == 9
    twice = Coreset(np.repeat(codes(2, 0), 2, axis=0), np.zeros(4, np.int64))
    assert len(ReplayBuffer.of(twice)) == 2


def test_four_bits_round_what_is_kept():
    pool = ReplayBuffer.of(Coreset(rounded(codes(4, 0)), np.arange(4, dtype=np.int64), 4))
    fresh = window(pool, 3)
    assert np.array_equal(fresh.x, rounded(codes(3, 101)))
    assert resample(pool, fresh, 20, 0.5).bits == 4


@pytest.mark.parametrize(
    ("misses", "lost", "before", "after", "now"),
    [
        (0, 0, True, True, 0),
        (5, 0, True, True, 2),
        (5, 3, True, True, 5),
        (0, 0, False, True, 1),
        (UNTRIED, 0, True, True, 0),
        (UNTRIED, 0, False, True, 1),
        (UNTRIED, 0, False, False, UNTRIED - 1),
        (UNTRIED - 1, 0, False, False, NEVER),
        (NEVER, 0, False, False, NEVER),
        (NEVER, 0, False, True, 1),
        (UNTRIED, 2, False, False, 3),  # right in between
        (0, 0, False, False, 1),  # forgotten, not unlearnable
        (1, 0, False, False, 1),
    ],
)
def test_counting(misses: int, lost: int, before: bool, after: bool, now: int):
    arrays = (np.array([misses]), np.array([lost]), np.array([before]), np.array([after]))
    assert update_misses(*arrays).tolist() == [now]


@given(st.integers(UNTRIED, 40), st.integers(1, 20), st.integers(0, 30))
def test_misses_do_not_grow_without_end(misses: int, windows: int, lost: int):
    value, wrong = np.array([misses]), np.zeros(1, bool)
    for _ in range(windows):
        value = update_misses(value, np.array([lost]), wrong, wrong)
    assert NEVER <= value[0] <= max(misses, 2 * lost + 2)
