"""Samples at four bits: how far off, how many bytes, and that packing again changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibrant.core.nibbles import blocks, pack, rounded, unpack

SHAPES = st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 20), st.integers(1, 4))
SAMPLES = SHAPES.flatmap(lambda shape: hnp.arrays(np.int8, shape, elements=st.integers(-128, 127)))


@given(SAMPLES)
def test_rounding_is_near_and_settles_at_once(x: np.ndarray):
    kept, held = rounded(x), pack(x)
    assert kept.shape == x.shape
    assert kept.dtype == np.int8
    assert np.array_equal(rounded(kept), kept)
    grids = held.step.shape[1]
    off = np.abs(kept.astype(int) - x).reshape(len(x), x.shape[1] * x.shape[2] * x.shape[3] // grids, grids)
    step = held.step[:, None].astype(int)
    near_top = x.reshape(off.shape) > 127 - step
    assert (step >= 1).all()
    assert (off <= np.where(near_top, step - 1, (step + 1) // 2)).all()


@given(SAMPLES)
def test_packed_and_unpacked_are_the_same_codes(x: np.ndarray):
    kept = rounded(x)
    again = unpack(pack(kept), x.shape[1:])
    assert again.dtype == np.int16
    assert np.array_equal(again, kept)


@pytest.mark.parametrize(("shape", "grids"), [((1, 125, 45), 45), ((8, 8, 1), 1), ((1, 15, 3), 1), ((1, 16, 3), 3)])
def test_bytes_are_half_and_a_grid_a_channel(shape: tuple[int, int, int], grids: int):
    x = np.zeros((2, *shape), np.int8)
    held = pack(x)
    assert blocks(*shape) == grids
    assert held.packed.shape == (2, -(-x[0].size // 2))
    assert held.low.shape == held.step.shape == (2, grids)


def test_what_has_sixteen_levels_is_exact():
    x = (np.arange(16) * 17 - 128).astype(np.int8).reshape(1, 1, 16, 1)
    assert np.array_equal(rounded(x), x)
    assert np.array_equal(rounded(x // 17), x // 17)  # a step of one


def test_channels_do_not_share_a_grid():
    x = np.zeros((1, 1, 32, 2), np.int8)
    x[0, 0, :, 0] = np.arange(32) % 16
    x[0, 0, ::2, 1] = 120
    assert np.array_equal(rounded(x), x)
