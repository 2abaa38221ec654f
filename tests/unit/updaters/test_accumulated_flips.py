"""The accumulating updater on a real engine: it learns, repeats itself, begins anew when it must, and returns home."""

from dataclasses import replace

import numpy as np
import pytest

from calibrant.core.dtype import weight_range
from calibrant.core.fmath import cross_entropy
from calibrant.core.logits import logits
from calibrant.core.parameters import Parameters
from calibrant.core.rng import generator
from calibrant.engine import Engine, variants
from calibrant.updaters.accumulated_flips import AccumulatedFlips
from calibrant.updaters.base import Samples
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


def made(artifact, variant=None, **settings):
    changed = replace(artifact.settings, form="accumulated", **({"rate": 0.02, "steps": 30} | settings))
    engine = Engine(artifact.program, artifact.constants, variant)
    return engine, AccumulatedFlips(artifact.meaning, changed)


def run(updater, engine, x, y, steps=None):
    return update(updater, engine, x, y, steps)


def test_loss_falls_and_is_what_the_engine_now_gives(small_artifact, drifted):
    engine, updater = made(small_artifact)
    outcome = run(updater, engine, *drifted)
    assert outcome.loss_after < 0.8 * outcome.loss_before
    assert outcome.flips == np.count_nonzero(engine.parameters.weights != small_artifact.constants.weights) > 0
    scores = logits(engine.infer(drifted[0]), small_artifact.program, small_artifact.constants)
    loss, _ = cross_entropy(scores, drifted[1])
    assert loss.sum() / (65536 * len(loss)) == outcome.loss_after


def test_any_order_and_any_kernels_give_the_same_weights(small_artifact, drifted):
    order = generator(1, "order").permutation(len(drifted[1]))
    results = set()
    for variant in variants():
        for rows in (slice(None), order):
            engine, updater = made(small_artifact, variant)
            for _ in range(2):  # residuals and moments of a first window must not depend on the order either
                run(updater, engine, drifted[0][rows], drifted[1][rows], 10)
            results.add((engine.parameters.weights.tobytes(), engine.parameters.bias.tobytes()))
    assert len(results) == 1


def test_codes_stay_in_range(small_artifact, drifted):
    engine, updater = made(small_artifact, rate=1.0, decay=0.0, loss_goal=0.0)
    run(updater, engine, *drifted)
    for layer in small_artifact.program.layers:
        low, high = weight_range(layer.bits)
        codes = engine.parameters.weights[layer.weight_slice]
        assert low <= codes.min()
        assert codes.max() <= high


def test_nothing_lasts_from_window_to_window(small_artifact, drifted):
    engine, updater = made(small_artifact)
    run(updater, engine, *drifted)
    middle = engine.parameters
    run(updater, engine, *drifted)
    fresh_engine, fresh = made(small_artifact)
    fresh_engine.load(middle)
    run(fresh, fresh_engine, *drifted)
    assert engine.parameters == fresh_engine.parameters != middle
    engine.load(Parameters.of(small_artifact.constants))  # a rejected window
    run(updater, engine, *drifted)
    assert engine.parameters == middle


def test_an_update_goes_on_where_an_earlier_one_of_its_window_ended(small_artifact, drifted):
    engine, updater = made(small_artifact, loss_goal=0.0)
    whole = run(updater, engine, *drifted, 20).last.parameters
    again, updater = made(small_artifact, loss_goal=0.0)
    first = run(updater, again, *drifted, 12)
    samples = Samples(*drifted, np.ones(len(drifted[1]), np.int64))
    second = updater.update(again, samples, first.last, 8, first.state)
    assert second.last.parameters == again.parameters == whole


def test_held_back_samples_are_evaluated_and_not_learned(small_artifact, drifted):
    x, y = drifted
    counts = np.where(np.arange(len(y)) % 5 == 2, 0, 1)
    engine, updater = made(small_artifact)
    held = update(updater, engine, x, y, importance=counts)
    other, updater = made(small_artifact)
    alone = update(updater, other, x[counts > 0], y[counts > 0])
    assert engine.parameters == other.parameters
    assert held.misses[counts > 0].tolist() == alone.misses.tolist()
    assert not held.misses[counts == 0].any()
    assert len(held.last) == len(y)


def test_weights_are_drawn_home(small_artifact, drifted):
    engine, updater = made(small_artifact, decay=0.0)
    run(updater, engine, *drifted)
    away = np.abs(engine.parameters.weights.astype(int) - small_artifact.constants.weights).sum()
    home_engine, home = made(small_artifact, decay=0.2)
    run(home, home_engine, *drifted)
    assert np.abs(home_engine.parameters.weights.astype(int) - small_artifact.constants.weights).sum() < away


def test_what_does_not_lower_the_loss_is_undone(small_artifact, drifted):
    engine, updater = made(small_artifact, rate=50.0, steps=1, loss_goal=0.0)
    outcome = run(updater, engine, *drifted)
    assert (outcome.steps, outcome.accepted, outcome.flips) == (1, 0, 0)
    assert outcome.loss_after == outcome.loss_before
    assert engine.parameters.weights.tobytes() == small_artifact.constants.weights.tobytes()


def test_at_its_goal_nothing_moves(small_artifact, drifted):
    engine, updater = made(small_artifact, loss_goal=100.0)
    outcome = run(updater, engine, *drifted)
    assert (outcome.steps, outcome.flips) == (0, 0)
    assert engine.parameters.weights.tobytes() == small_artifact.constants.weights.tobytes()


def test_without_bias_the_bias_stays(small_artifact, drifted):
    engine, updater = made(small_artifact, bias=False)
    assert run(updater, engine, *drifted).flips > 0
    assert engine.parameters.bias.tobytes() == small_artifact.constants.bias.tobytes()


def test_outputs_stay_near_what_they_were(small_artifact, drifted):
    """Of the artifact's samples, with the drifted ones learned beside them."""
    x = np.concatenate([drifted[0], small_artifact.coreset.x])
    y = np.concatenate([drifted[1], small_artifact.coreset.y])
    start = small_artifact.meaning.scores(made(small_artifact)[0].infer(small_artifact.coreset.x))
    known = np.concatenate([np.full((len(drifted[1]), start.shape[1]), np.nan, np.float32), start])
    moved = {}
    for remembers in (True, False):
        engine, updater = made(small_artifact, decay=0.0)
        update(updater, engine, x, y, remembered=known if remembers else None)
        after = logits(engine.infer(small_artifact.coreset.x), small_artifact.program, small_artifact.constants)
        moved[remembers] = np.square(after - start).mean()
    assert moved[True] < moved[False]
