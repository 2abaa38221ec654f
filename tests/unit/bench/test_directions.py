"""Controls of the flip updater: random directions get nowhere, true ones are back-propagation's."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from calibrant import updaters
from calibrant.bench.baselines import RandomFlips, TrueFlips, decode
from calibrant.core.errors import DataError
from calibrant.core.qparams import QParams
from calibrant.core.rng import generator
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.pipeline import float_training
from calibrant.updaters.accumulated_flips import AccumulatedFlips
from calibrant.updaters.base import Samples, evaluate
from deployments import deployment
from updating import update


@pytest.fixture(autouse=True)
def one_thread():
    with float_training.threads(1):
        yield


@pytest.fixture(scope="module")
def small():
    return deployment(4)


def encoded(small):
    artifact = small.prepared.artifact
    entry = artifact.program.tensors[artifact.program.input]
    return encode(small.target[0], entry, artifact.preprocess, artifact.input_shape)


def settings(small):
    return replace(small.prepared.artifact.settings, form="accumulated", steps=40, rate=5e-3)


def updated(small, updater):
    engine, codes = Engine(small.prepared.artifact.program, small.prepared.artifact.constants), encoded(small)
    return engine, update(updater, engine, codes, small.target[1])


def observed(small, importance):
    """An engine at the artifact's weights, what they give on weighted samples, and these."""
    artifact = small.prepared.artifact
    engine = Engine(artifact.program, artifact.constants)
    samples = Samples(encoded(small), small.target[1], importance)
    return engine, evaluate(engine, samples, artifact.meaning), samples


def test_true_directions_lower_the_loss_and_random_ones_do_not(small):
    artifact = small.prepared.artifact
    losses = {}
    for updater in (
        updaters.build(artifact, settings(small)),
        TrueFlips(artifact, settings(small), small.prepared.net),
        RandomFlips(artifact, settings(small), seed=0),
    ):
        _, outcome = updated(small, updater)
        assert outcome.updater == updater.name
        losses[updater.name] = outcome.loss_after
        before = outcome.loss_before
    assert losses["flip-true"] < 0.5 * before
    assert losses["flip"] < 0.5 * before
    assert 0.7 * before < losses["flip-random"] <= before


def slopes(updater, *seen):
    return updater._slopes(*seen)  # private: directions as they are before flips are made of them


def test_random_directions_repeat_by_seed(small):
    weights = [
        updated(small, RandomFlips(small.prepared.artifact, settings(small), seed=seed))[0].parameters.weights.tobytes()
        for seed in (0, 0, 1)
    ]
    assert weights[0] == weights[1] != weights[2]


def test_true_directions_are_those_of_the_network(small):
    """Against autograd on the network that the artifact was lowered from, at the artifact's codes."""
    artifact, net = small.prepared.artifact, copy.deepcopy(small.prepared.net)
    engine, state, samples = observed(small, np.arange(len(small.target[1]), dtype=np.int64) % 3 + 1)
    weights, bias = slopes(TrueFlips(artifact, settings(small), net), engine, state, samples)

    net.load_codes(net.codes(), net.bias_codes())  # latent values beyond the codes' range pass fewer gradients
    entry = artifact.program.tensors[artifact.program.input]
    x = torch.from_numpy(decode(samples.x, entry.scale, entry.zero_point, artifact.input_shape))
    losses = nn.functional.cross_entropy(net(x), torch.from_numpy(samples.y), reduction="none")
    mean = losses @ torch.from_numpy(samples.importance).float() / samples.importance.sum()
    expected = iter(torch.autograd.grad(mean, list(net.parameters())))
    for layer in artifact.program.layers:
        kernel = next(expected).reshape(layer.c_out, -1, layer.kernel_h, layer.kernel_w).permute(0, 2, 3, 1)
        np.testing.assert_allclose(weights[layer.weight_slice], kernel.numpy().ravel(), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(bias[layer.channel_slice], next(expected).numpy(), rtol=1e-3, atol=1e-5)
    assert mean.item() == pytest.approx(samples.loss(state) / samples.mass, rel=1e-3)


def test_true_directions_cost_what_back_propagation_keeps(small):
    updater = TrueFlips(small.prepared.artifact, settings(small), small.prepared.net)
    assert updater.added_bytes(60) > updater.added_bytes(30) > 8 * small.prepared.artifact.program.weight_count
    assert RandomFlips(small.prepared.artifact, settings(small), 0).added_bytes(60) == 0


def test_codes_become_what_the_network_sees():
    q = QParams.from_range(-3.0, 5.0)
    real = generator(1, "test").uniform(-3, 5, (4, 3, 10)).astype(np.float32)
    codes = q.quantize(real)[:, :, None].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(decode(codes, q.scale, q.zero_point, (3, 10)), real, atol=q.scale / 2 + 1e-6)
    with pytest.raises(DataError, match="samples: expected shape"):
        decode(codes, q.scale, q.zero_point, (3, 11))


def test_signals_from_channel_sums_are_nearly_those_of_back_propagation(small):
    artifact = small.prepared.artifact
    seen = observed(small, np.ones(len(small.target[1]), np.int64))
    updater = AccumulatedFlips(artifact.meaning, settings(small))
    estimated = slopes(updater, *seen)
    true = slopes(TrueFlips(artifact, settings(small), small.prepared.net), *seen)
    for layer in artifact.program.layers:
        for which, rows in enumerate((layer.weight_slice, layer.channel_slice)):
            ours, theirs = estimated[which][rows], true[which][rows]
            assert np.vdot(ours, theirs) > 0.9 * np.linalg.norm(ours) * np.linalg.norm(theirs)
            assert 0.7 < np.linalg.norm(ours) / np.linalg.norm(theirs) < 1.4
