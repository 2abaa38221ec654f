"""The flip updater on a real engine: it learns, repeats itself, ignores sample order and keeps codes in range."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.core.dtype import BIAS_LIMIT, weight_range
from calibrant.core.errors import DataError
from calibrant.core.evaluation import Evaluation
from calibrant.core.fmath import cross_entropy
from calibrant.core.logits import logits
from calibrant.core.program import Layer
from calibrant.core.rng import generator
from calibrant.core.settings import FlipSettings
from calibrant.engine import Engine
from calibrant.updaters import base, guarded_flips

# private: the bounds that let 64 bits hold a gradient, which no outcome shows
from calibrant.updaters.guarded_flips import GuardedFlips, _Gradient, _normalized, flip, shift_bias
from updating import update


@pytest.fixture(params=[2, 4, 8])
def small_artifact(request, build_artifact):
    return build_artifact(bits=request.param)


@pytest.fixture
def drifted(small_artifact):
    """Shifted input codes of the artifact's coreset, many times over with noise, and their classes."""
    rng = generator(0, "drift")
    x = np.repeat(small_artifact.coreset.x, 6, axis=0).astype(np.int16)
    x = x * 0.8 + 12 + rng.normal(0, 6, x.shape)
    return np.clip(np.rint(x), -128, 127).astype(np.int8), np.repeat(small_artifact.coreset.y, 6)


def _updated(artifact, drifted, **settings):
    engine = Engine(artifact.program, artifact.constants)
    updater = GuardedFlips(artifact.meaning, artifact.feedback, replace(artifact.settings, **settings))
    return engine, update(updater, engine, *drifted)


@pytest.mark.parametrize("form", ["pooled", "taps"])
def test_loss_falls_and_is_what_the_engine_now_gives(small_artifact, drifted, form):
    engine, outcome = _updated(small_artifact, drifted, form=form)
    assert outcome.loss_after < outcome.loss_before
    assert outcome.flips == np.count_nonzero(engine.parameters.weights != small_artifact.constants.weights) > 0
    scores = logits(engine.infer(drifted[0]), small_artifact.program, small_artifact.constants)
    loss, _ = cross_entropy(scores, drifted[1])
    assert loss.sum() / (65536 * len(loss)) == outcome.loss_after


@pytest.mark.parametrize("form", ["pooled", "taps"])
def test_same_samples_in_any_order_give_the_same_weights(small_artifact, drifted, form):
    order = generator(1, "order").permutation(len(drifted[1]))
    first, _ = _updated(small_artifact, drifted, form=form)
    second, _ = _updated(small_artifact, (drifted[0][order], drifted[1][order]), form=form)
    assert first.parameters == second.parameters


def test_codes_stay_in_range(small_artifact, drifted):
    engine, _ = _updated(small_artifact, drifted, steps=40, fraction=0.2, fraction_max=0.5)
    for layer in small_artifact.program.layers:
        low, high = weight_range(layer.bits)
        codes = engine.parameters.weights[layer.weight_slice]
        assert low <= codes.min()
        assert codes.max() <= high


def test_without_bias_the_bias_stays(small_artifact, drifted):
    engine, _ = _updated(small_artifact, drifted, bias=False)
    assert engine.parameters.bias.tobytes() == small_artifact.constants.bias.tobytes()


def test_at_its_goal_nothing_moves(small_artifact, drifted):
    engine, outcome = _updated(small_artifact, drifted, loss_goal=100.0)
    assert (outcome.steps, outcome.flips) == (0, 0)
    assert engine.parameters.weights.tobytes() == small_artifact.constants.weights.tobytes()


def test_it_stops_at_its_goal(small_artifact, drifted):
    _, full = _updated(small_artifact, drifted, steps=40, loss_goal=0.0)
    goal = (full.loss_before + full.loss_after) / 2
    _, stopped = _updated(small_artifact, drifted, steps=40, loss_goal=goal)
    assert stopped.steps < full.steps == 40
    assert full.loss_after < stopped.loss_after <= goal


def test_importance_counts_like_repetition(small_artifact, drifted):
    x, y = drifted
    counts = np.where(np.arange(len(y)) < 5, 3, 1)
    engine = Engine(small_artifact.program, small_artifact.constants)
    updater = GuardedFlips(small_artifact.meaning, small_artifact.feedback, small_artifact.settings)
    weighted = update(updater, engine, x, y, 0, counts)
    repeated = update(updater, engine, np.repeat(x, counts, 0), np.repeat(y, counts), 0)
    assert weighted.loss_before == repeated.loss_before


@given(st.lists(st.integers(-(2**50), 2**50), min_size=1, max_size=20), st.integers(0, 30))
def test_normalized_gradients_compare_and_momentum_is_bounded(values, steps):
    slope = np.array(values, np.int64)
    scaled = _normalized(slope)
    peak = np.abs(slope).max()
    assert peak == 0 or 2**19 <= np.abs(scaled).max() <= 2**20
    assert peak == 0 or np.abs(scaled / 2.0**20 - slope / 2.0 ** int(peak).bit_length()).max() <= 2**-20
    gradient = fresh = _Gradient([scaled], scaled, [1])
    for _ in range(steps):
        gradient = fresh.after(gradient)
    assert np.abs(gradient.bias).max() <= 2**22 + 4


def test_an_unknown_form_is_refused(small_artifact):
    with pytest.raises(DataError, match="'pooled', 'taps' or 'blocks'"):
        GuardedFlips(small_artifact.meaning, small_artifact.feedback, FlipSettings(form="none"))


@given(
    st.sampled_from([2, 4, 8]),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([1, 4, 16]),
    st.floats(0.001, 1),
    st.integers(0, 2**31),
)
def test_flips_go_against_the_slope_and_count_is_bounded(bits, c_out, kernel, c_in, step, fraction, seed):
    rng = np.random.default_rng(seed)
    layer = Layer("l", bits, c_out, 1, kernel, c_in, 1, 0, 0, 0)
    low, high = weight_range(bits)
    weights = rng.integers(low, high + 1, layer.weight_count).astype(np.int8)
    slope = rng.integers(-3, 4, (c_out, 1, 1, c_in)) * 1000
    scale = rng.uniform(0.01, 0.1, c_out).astype(np.float32)
    moved = flip(layer, weights, slope, scale, step, fraction).astype(np.int16) - weights
    wanted = -np.sign(np.broadcast_to(slope, layer.weight_shape).reshape(-1))
    assert np.count_nonzero(moved) <= max(1, round(fraction * layer.weight_count))
    assert (np.sign(moved)[moved != 0] == wanted[moved != 0]).all()
    assert np.abs(moved).max(initial=0) <= step
    assert low <= (weights + moved).min()
    assert (weights + moved).max() <= high


def test_the_largest_scaled_slopes_move_first_and_ties_by_index():
    layer = Layer("l", 4, 2, 1, 1, 2, 1, 0, 0, 0)
    slope = np.array([[10, -10], [4, 4]]).reshape(2, 1, 1, 2)
    flat = np.zeros(4, np.int8)
    assert flip(layer, flat, slope, np.float32([1, 1]), 1, 0.25).tolist() == [-1, 0, 0, 0]
    assert flip(layer, flat, slope, np.float32([1, 4]), 1, 0.5).tolist() == [0, 0, -1, -1]
    assert flip(layer, np.int8([-7, 7, 0, 0]), slope, np.float32([1, 1]), 1, 0.25).tolist() == [-7, 7, -1, 0]


def test_bias_moves_by_one_step_and_saturates():
    bias = np.array([5, BIAS_LIMIT - 1, 0], np.int32)
    slope = np.array([100, -300, 200])
    assert shift_bias(bias, slope, np.float32([1, 1, 1]), 10, 0.5).tolist() == [5, BIAS_LIMIT, -10]


def test_misses_count_what_a_candidate_loses(small_artifact, drifted, monkeypatch):
    evaluated = []
    evaluate = base.evaluate

    def spy(*args):
        evaluated.append(evaluate(*args))
        return evaluated[-1]

    monkeypatch.setattr(guarded_flips, "evaluate", spy)
    _, outcome = _updated(small_artifact, drifted, steps=25, loss_goal=0.0)
    current, expected = start(small_artifact, drifted), np.zeros(len(drifted[1]), int)
    for candidate in evaluated:
        expected += current.right & ~candidate.right
        current = candidate if candidate.loss.sum() < current.loss.sum() else current
    assert len(evaluated) == 25
    assert outcome.misses.tolist() == expected.tolist()
    assert outcome.last is current or outcome.flips == 0


def start(artifact, drifted):
    """What the artifact's own parameters give."""
    engine = Engine(artifact.program, artifact.constants)
    return Evaluation.of(engine.parameters, engine.observe(drifted[0]), drifted[1], artifact.meaning)
