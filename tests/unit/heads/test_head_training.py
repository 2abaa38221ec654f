"""Training on whole numbers: against floats, the dead zone where the rule says, and what mends it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.fixedpoint import round_shift
from calibrant.heads.grid import Grid, stochastic
from calibrant.heads.training import DeadZone, Descent, Weights, batches

rng = np.random.default_rng(3)
Y = np.repeat(np.arange(4), 30)
X = np.clip(rng.integers(0, 200, (4, 16))[Y] + rng.normal(0, 25, (120, 16)), 0, 255).astype(np.int32)
UNIT = 8  # 2^8 is near the length of these features
HOW = Descent(forward_bits=8, unit=UNIT, rate=1.0, epochs=6, batch=16, rounding="nearest")


def trained(bits, **change):
    zeros = np.zeros((4, 16), np.int64)
    return replace(HOW, **change).run(Weights(Grid(bits), zeros, zeros), X, Y, 0, "test")


def in_floats(rate=1.0, epochs=6):
    w, x = np.zeros((4, 16)), X / 2.0**UNIT
    # the same draws: `Descent.run` names its order so
    from calibrant.core.rng import generator

    for rows in batches(len(Y), 16, epochs, generator(0, "test order")):
        z = x[rows] @ w.T
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(rows)), Y[rows]] -= 1
        w = w - rate * p.T @ x[rows] / len(rows)
    return w


def test_sixteen_bits_behind_eight_are_as_good_as_floats():
    made, exact = trained(16), in_floats()
    assert abs(made.fresh * made.grid.step - exact).max() < 0.02 * abs(exact).max()


def test_steps_are_lost_where_half_a_step_is_not_reached():
    gradient = np.array([[10, -10, 0, 40]])
    zone = DeadZone.of(gradient, 0.04)
    assert (zone.steps, zone.lost) == (3, 2)
    assert zone.share == pytest.approx(2 / 3)
    assert (zone.mass, zone.lost_mass) == pytest.approx((2.4, 0.8))
    assert zone.swallowed
    assert not DeadZone.of(gradient, 0.06).swallowed
    assert zone.then(zone).lost == 4


def test_in_the_dead_zone_nearest_stands_still_and_both_ways_out_do_not():
    """The rule: at rate 0.01 and a step of 2^-7, moves below 2^-8 are lost, and all are."""
    still, chance, wide = (trained(8, rate=0.01, rounding=r, epochs=40) for r in ("nearest", "stochastic", "widen"))
    exact = in_floats(0.01, 40)
    assert still.zone.share > 0.9
    assert not still.fresh.any()
    assert np.corrcoef((chance.fresh * chance.grid.step).ravel(), exact.ravel())[0, 1] > 0.9
    assert wide.grid.bits > 8
    assert abs(wide.fresh * wide.grid.step - exact).max() < 0.1 * abs(exact).max()


def test_widening_gives_what_the_wider_grid_would_have_given():
    narrow, wide = (trained(bits, rate=0.02, epochs=20, rounding="widen") for bits in (8, 16))
    assert narrow.grid == wide.grid
    assert (narrow.fresh == wide.fresh).all()


def test_a_grid_that_loses_little_is_not_widened():
    assert trained(16, rounding="widen").grid == trained(16).grid


def test_the_end_of_the_grid_moves_and_is_counted():
    made = trained(8, rate=8.0)
    assert made.doublings == made.grid.exponent > 0
    assert abs(made.fresh).max() <= made.grid.limit


def test_draws_belong_to_seed_and_purpose():
    weights, how = (
        Weights(Grid(8), np.zeros((4, 16), np.int64), np.zeros((4, 16), np.int64)),
        replace(HOW, rounding="stochastic"),
    )
    one, same, other, later = (
        how.run(weights, X, Y, seed, purpose).fresh for seed, purpose in ((0, "a"), (0, "a"), (1, "a"), (0, "b"))
    )
    assert (one == same).all()
    assert (one != other).any()
    assert (one != later).any()


@given(
    st.lists(st.integers(-127, 127), min_size=1, max_size=20),
    st.sampled_from([(8, 8), (8, 4), (16, 8)]),
    st.integers(0, 3),
)
def test_a_wider_grid_has_the_same_weights_and_answers(values, bits, exponent):
    grid = Grid(bits[0], exponent)
    steps, wide = np.array(values, np.int64), grid.widened()
    carried = grid.carry(steps, wide)
    assert (carried * wide.step == steps * grid.step).all()
    assert (wide.forward(carried, bits[1]) == grid.forward(steps, bits[1])).all()
    assert (wide.carry(carried, grid) == steps).all()
    assert abs(grid.carry(steps, grid.doubled()) - steps / 2).max() <= 0.5


@given(st.integers(-(2**61), 2**61), st.integers(1, 62))
def test_rounding_by_chance_takes_one_of_the_two_neighbors(product, shift):
    made = int(stochastic(np.array([product]), shift, np.random.default_rng(0))[0])
    assert made in (product >> shift, (product >> shift) + 1)
    if product % (1 << shift) == 0:
        assert made == product >> shift
    assert abs(made - int(round_shift(np.array([product]), shift)[0])) <= 1


@given(st.integers(1, 700), st.integers(1, 256))
def test_batches_hold_every_row_once_an_epoch_and_no_more_than_sums_allow(count, batch):
    made = batches(count, batch, 2, np.random.default_rng(0))
    assert sorted(np.concatenate(made).tolist()) == sorted([*range(count)] * 2)
    assert max(map(len, made)) <= 256
