"""Sparse differences: applied, joined, undone, packed, and refused when damaged."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibrant.core import parameters
from calibrant.core.errors import StateError
from calibrant.core.parameters import KINDS, Kind, Parameters
from calibrant.memory import delta
from calibrant.memory.delta import Change, Delta, apply, difference, join, negative, pack, unpack

COUNT, CHANNELS = 12, 5
PARTS = ("index", "change")
SIZES = {"weight": COUNT, "channel": CHANNELS}
pairs = st.builds(Parameters, **{kind.name: hnp.arrays(kind.dtype, SIZES[kind.each]) for kind in KINDS})
LATER = (*KINDS, Kind("gain", np.int16, "channel"))  # what a later release may know


def same(a: Delta, b: Delta) -> bool:
    arrays = [(getattr(a.changes[name], part), getattr(b.changes[name], part)) for name in a.changes for part in PARTS]
    return a.changes.keys() == b.changes.keys() and all(np.array_equal(x, y) and x.dtype == y.dtype for x, y in arrays)


def delta_of(weight: tuple[list[int], list[int]], bias: tuple[list[int], list[int]]) -> Delta:
    changes = {"weights": Change(np.uint32(weight[0]), np.int16(weight[1]))}
    return Delta({**join([]).changes, **changes, "bias": Change(np.uint32(bias[0]), np.int64(bias[1]))})


def zeros(weight_count: int, channels: int) -> Parameters:
    sizes = {"weight": weight_count, "channel": channels}
    return Parameters(**{kind.name: np.zeros(sizes[kind.each], kind.dtype) for kind in KINDS})


@given(st.lists(pairs, min_size=2, max_size=5))
def test_a_chain_of_differences_leads_to_the_last(history):
    deltas = [difference(old, new) for old, new in itertools.pairwise(history)]
    current = history[0]
    for step, expected in zip(deltas, history[1:], strict=True):
        current = apply(unpack(pack(step), "delta"), current)
        assert current == expected
    assert same(join(deltas), difference(history[0], history[-1]))
    assert apply(negative(join(deltas)), current) == history[0]


@given(pairs, pairs)
def test_packing_round_trips(old, new):
    made = difference(old, new)
    assert same(unpack(pack(made), "delta"), made)


@given(pairs, pairs, hnp.arrays(np.int16, CHANNELS), hnp.arrays(np.int16, CHANNELS))
def test_what_an_earlier_release_packed_leaves_later_kinds_unchanged(old, new, gain, other):
    packed, name = pack(difference(old, new)), new.sha256
    with pytest.MonkeyPatch.context() as patch:
        for module in (delta, parameters):
            patch.setattr(module, "KINDS", LATER)
        before, after = Parameters(**old, gain=gain), Parameters(**new, gain=gain)
        upgraded = apply(unpack(packed, "delta"), before)
        assert upgraded == after
        assert upgraded.named(name)
        assert upgraded.sha256 != name
        further = unpack(pack(difference(after, after.replaced(gain=other))), "delta")
        assert np.array_equal(apply(further, after)["gain"], other)
        assert apply(further, after).named(after.sha256) == np.array_equal(gain, other)
        again = pack(difference(before, after.replaced(gain=gain + 1)))
    with pytest.raises(StateError, match="expected a delta of one of"):
        unpack(again, "delta")


def test_few_flips_take_few_bytes():
    before, new = zeros(500_000, 1), np.zeros(500_000, np.int8)
    new[::1000] = 1
    made = difference(before, before.replaced(weights=new))
    assert made.flips == 500
    assert len(pack(made)) < 200


@given(st.binary(max_size=40))
def test_random_bytes_are_no_delta(junk):
    for data in (junk, zlib.compress(junk)):
        try:
            found = unpack(data, "delta")
        except StateError:
            continue
        assert pack(found)


def test_damaged_deltas_are_refused():
    good = pack(delta_of(([1, 7], [1, -1]), ([0], [5])))
    body, counts = zlib.decompress(good), 4 * len(KINDS)
    bomb = zlib.compress(np.uint32([2**31, 0]).tobytes() + b"\0" * 1000)
    descending = body[: counts + 4] + np.uint32([0]).tobytes() + body[counts + 8 :]
    for data in (good[:-1], good + b"x", zlib.compress(body[:-1]), zlib.compress(body + b"x"), bomb, b""):
        with pytest.raises(StateError):
            unpack(data, "delta")
    with pytest.raises(StateError, match="ascending"):
        unpack(zlib.compress(descending), "delta")


def test_a_delta_of_another_model_is_refused():
    old = zeros(4, 2)
    with pytest.raises(StateError, match="weights indices below 4, got 4"):
        apply(delta_of(([4], [1]), ([], [])), old)
    with pytest.raises(StateError, match="values of int8"):
        apply(delta_of(([3], [128]), ([], [])), old)
    with pytest.raises(StateError, match="values of int32"):
        apply(delta_of(([], []), ([1], [2**31])), old)
