"""The sparse updater on a real engine: it learns what its scheme trains and nothing else, and repeats itself."""

from dataclasses import replace

import numpy as np
import pytest

from artifacts import make_artifact, make_sparse_artifact
from calibrant import updaters
from calibrant.core.errors import DataError
from calibrant.core.fmath import LOSS_ONE, cross_entropy
from calibrant.core.logits import logits
from calibrant.core.rng import generator
from calibrant.engine import Engine, variants
from updating import update


def drifted(artifact):
    rng = generator(0, "drift")
    x = np.repeat(artifact.coreset.x, 6, axis=0).astype(np.int16)
    x = x * 0.8 + 12 + rng.normal(0, 6, x.shape)
    return np.clip(np.rint(x), -128, 127).astype(np.int8), np.repeat(artifact.coreset.y, 6)


def run(artifact, x, y, variant=None, **settings):
    engine = Engine(artifact.program, artifact.constants, variant)
    updater = updaters.build(artifact, replace(artifact.settings, **settings))
    return engine, update(updater, engine, x, y)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_loss_falls_and_is_what_the_engine_now_gives(bits):
    artifact = make_sparse_artifact(bits=bits)
    x, y = drifted(artifact)
    engine, outcome = run(artifact, x, y, rate=0.2, steps=40)
    assert outcome.updater == "sparse"
    assert outcome.loss_after < 0.8 * outcome.loss_before
    assert outcome.flips == np.count_nonzero(engine.parameters.weights != artifact.constants.weights) > 0
    loss, _ = cross_entropy(logits(engine.infer(x), artifact.program, artifact.constants), y)
    assert loss.sum() / (LOSS_ONE * len(loss)) == outcome.loss_after


def test_only_what_the_scheme_names_is_trained():
    artifact = make_sparse_artifact("classifier")
    engine, outcome = run(artifact, *drifted(artifact))
    head = artifact.program.layers[-1]
    moved = np.flatnonzero(engine.parameters.weights != artifact.constants.weights)
    assert outcome.flips == moved.size > 0
    assert moved.min() >= head.weight_offset
    assert np.flatnonzero(engine.parameters.bias != artifact.constants.bias).min() >= head.channel_offset


def test_any_order_and_any_kernels_give_the_same_weights():
    artifact = make_sparse_artifact()
    x, y = drifted(artifact)
    order = generator(1, "order").permutation(len(y))
    results = set()
    for variant in variants():
        for rows in (slice(None), order):
            engine, _ = run(artifact, x[rows], y[rows], variant)
            results.add((engine.parameters.weights.tobytes(), engine.parameters.bias.tobytes()))
    assert len(results) == 1


def test_a_sample_that_counts_double_is_seen_twice():
    artifact = make_sparse_artifact()
    x, y = drifted(artifact)
    engine = Engine(artifact.program, artifact.constants)
    updater = updaters.build(artifact, artifact.settings)
    update(updater, engine, x, y, 10, np.where(y == 0, 5, 1))
    other, _ = run(artifact, x, y)
    assert not np.array_equal(engine.parameters.weights, other.parameters.weights)


def test_a_rate_that_only_does_harm_changes_nothing():
    artifact = make_sparse_artifact()
    engine, outcome = run(artifact, *drifted(artifact), rate=1e6, steps=2)
    assert outcome.flips == outcome.accepted == 0
    assert outcome.loss_after == outcome.loss_before
    assert np.array_equal(engine.parameters.weights, artifact.constants.weights)
    assert np.array_equal(engine.parameters.bias, artifact.constants.bias)


def test_an_artifact_without_a_training_step_is_refused():
    artifact = make_artifact()
    with pytest.raises(DataError, match="the artifact has no training step"):
        updaters.build(artifact, replace(artifact.settings, form="sparse"))
