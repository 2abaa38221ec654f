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
from calibrant.core.parameters import Parameters
from calibrant.memory.delta import Change, Delta, apply, difference, join, negative, pack, unpack

COUNT, CHANNELS = 12, 5
PARTS = ("index", "change")
weights = hnp.arrays(np.int8, COUNT)
biases = hnp.arrays(np.int32, CHANNELS)
pairs = st.builds(Parameters, weights=weights, bias=biases)


def same(a: Delta, b: Delta) -> bool:
    arrays = [(getattr(a.changes[name], part), getattr(b.changes[name], part)) for name in a.changes for part in PARTS]
    return a.changes.keys() == b.changes.keys() and all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in arrays)


def delta_of(weight: tuple[list[int], list[int]], bias: tuple[list[int], list[int]]) -> Delta:
    changes = {"weights": Change(np.uint32(weight[0]), np.int16(weight[1]))}
    return Delta(changes | {"bias": Change(np.uint32(bias[0]), np.int64(bias[1]))})


@given(st.lists(pairs, min_size=2, max_size=5))
def test_a_chain_of_differences_leads_to_the_last(history):
    deltas = [difference(old, new) for old, new in itertools.pairwise(history)]
    current = history[0]
    for delta, expected in zip(deltas, history[1:], strict=True):
        current = apply(unpack(pack(delta), "delta"), current)
        assert current == expected
    assert same(join(deltas), difference(history[0], history[-1]))
    assert apply(negative(join(deltas)), current) == history[0]


@given(pairs, pairs)
def test_packing_round_trips(old, new):
    delta = difference(old, new)
    assert same(unpack(pack(delta), "delta"), delta)


def test_few_flips_take_few_bytes():
    old, new = np.zeros(500_000, np.int8), np.zeros(500_000, np.int8)
    new[::1000] = 1
    before = Parameters(weights=old, bias=np.zeros(1, np.int32))
    delta = difference(before, before.replaced(weights=new))
    assert delta.flips == 500
    assert len(pack(delta)) < 200


@given(st.binary(max_size=40))
def test_random_bytes_are_no_delta(junk):
    for data in (junk, zlib.compress(junk)):
        try:
            delta = unpack(data, "delta")
        except StateError:
            continue
        assert pack(delta)


def test_damaged_deltas_are_refused():
    good = pack(delta_of(([1, 7], [1, -1]), ([0], [5])))
    body = zlib.decompress(good)
    bomb = zlib.compress(np.uint32([2**31, 0]).tobytes() + b"\0" * 1000)
    descending = body[:12] + np.uint32([0]).tobytes() + body[16:]
    for data in (good[:-1], good + b"x", zlib.compress(body[:-1]), zlib.compress(body + b"x"), bomb, b""):
        with pytest.raises(StateError):
            unpack(data, "delta")
    with pytest.raises(StateError, match="ascending"):
        unpack(zlib.compress(descending), "delta")


def test_a_delta_of_another_model_is_refused():
    old = Parameters(weights=np.zeros(4, np.int8), bias=np.zeros(2, np.int32))
    with pytest.raises(StateError, match="weights indices below 4, got 4"):
        apply(delta_of(([4], [1]), ([], [])), old)
    with pytest.raises(StateError, match="values of int8"):
        apply(delta_of(([3], [128]), ([], [])), old)
    with pytest.raises(StateError, match="values of int32"):
        apply(delta_of(([], []), ([1], [2**31])), old)
