"""Sparse differences: applied, joined, undone, packed, and refused when damaged."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibrant.core.errors import StateError
from calibrant.memory.delta import Delta, apply, difference, join, negative, pack, unpack

COUNT, CHANNELS = 12, 5
weights = hnp.arrays(np.int8, COUNT)
biases = hnp.arrays(np.int32, CHANNELS)
pairs = st.tuples(weights, biases)


def same(a: Delta, b: Delta) -> bool:
    return all(
        np.array_equal(getattr(a, name), getattr(b, name)) and getattr(a, name).dtype == getattr(b, name).dtype
        for name in ("weight_index", "weight_change", "bias_index", "bias_change")
    )


@given(st.lists(pairs, min_size=2, max_size=5))
def test_a_chain_of_differences_leads_to_the_last(history):
    deltas = [difference(*old, *new) for old, new in itertools.pairwise(history)]
    current = history[0]
    for delta, expected in zip(deltas, history[1:], strict=True):
        current = apply(unpack(pack(delta), "delta"), *current)
        assert np.array_equal(current[0], expected[0])
        assert np.array_equal(current[1], expected[1])
    assert same(join(deltas), difference(*history[0], *history[-1]))
    back = apply(negative(join(deltas)), *current)
    assert np.array_equal(back[0], history[0][0])
    assert np.array_equal(back[1], history[0][1])


@given(pairs, pairs)
def test_packing_round_trips(old, new):
    delta = difference(*old, *new)
    assert same(unpack(pack(delta), "delta"), delta)


def test_few_flips_take_few_bytes():
    old, new = np.zeros(500_000, np.int8), np.zeros(500_000, np.int8)
    new[::1000] = 1
    zero = np.zeros(1, np.int32)
    assert len(pack(difference(old, zero, new, zero))) < 200


@given(st.binary(max_size=40))
def test_random_bytes_are_no_delta(junk):
    for data in (junk, zlib.compress(junk)):
        try:
            delta = unpack(data, "delta")
        except StateError:
            continue
        assert pack(delta)


def test_damaged_deltas_are_refused():
    good = pack(Delta(np.uint32([1, 7]), np.int16([1, -1]), np.uint32([0]), np.int64([5])))
    body = zlib.decompress(good)
    bomb = zlib.compress(np.uint32([2**31, 0]).tobytes() + b"\0" * 1000)
    descending = body[:12] + np.uint32([0]).tobytes() + body[16:]
    for data in (good[:-1], good + b"x", zlib.compress(body[:-1]), zlib.compress(body + b"x"), bomb, b""):
        with pytest.raises(StateError):
            unpack(data, "delta")
    with pytest.raises(StateError, match="ascending"):
        unpack(zlib.compress(descending), "delta")


def test_a_delta_of_another_model_is_refused():
    old = np.zeros(4, np.int8), np.zeros(2, np.int32)
    none = np.zeros(0, np.uint32), np.zeros(0, np.int64)
    with pytest.raises(StateError, match="indices below 4, got 4"):
        apply(Delta(np.uint32([4]), np.int16([1]), *none), *old)
    with pytest.raises(StateError, match="values of int8"):
        apply(Delta(np.uint32([3]), np.int16([128]), *none), *old)
    with pytest.raises(StateError, match="values of int32"):
        apply(Delta(none[0], np.zeros(0, np.int16), np.uint32([1]), np.int64([2**31])), *old)
