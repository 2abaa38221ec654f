"""The back-propagation baseline learns, uses the coreset, leaves the given network alone, and counts its memory."""

import numpy as np
import pytest
import torch
from torch import nn

from calibrant.bench import training
from calibrant.bench.baselines import RATES, BackPropagation, decode_coreset, rate
from calibrant.core.dtype import WEIGHT_BITS
from calibrant.core.errors import DataError
from calibrant.core.qparams import QParams
from calibrant.core.rng import generator


@pytest.fixture(autouse=True)
def one_thread():
    with training.threads(1):  # several are slower on networks this small
        yield


@pytest.fixture
def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv1d(2, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 2)
        )


@pytest.fixture
def window():
    rng = generator(0, "test")
    y = np.arange(40) % 2
    x = rng.normal(size=(40, 2, 12)).astype(np.float32)
    x[:, 0] += 2 * y[:, None]
    return x, y


def test_it_learns_the_window(net, window):
    x, y = window
    learner = BackPropagation(net, x[:4], y[:4], lr=1e-2)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    for _ in range(5):
        learner.observe(x, y)
    assert (learner.predict(x) == y).mean() > 0.95
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])


def test_the_coreset_counts(net, window):
    x, y = window
    with_core, without = (BackPropagation(net, x[:n], y[:n], lr=1e-2) for n in (20, 0))
    for learner in (with_core, without):
        learner.observe(x[20:], 1 - y[20:])  # labels that contradict the coreset
    agreement = [(learner.predict(x) == y).mean() for learner in (with_core, without)]
    assert agreement[0] > agreement[1]


def test_moments_are_carried_or_fresh(net, window):
    x, y = window
    results = []
    for carry in (False, True):
        learner = BackPropagation(net, x[:4], y[:4], lr=1e-2, carry=carry)
        learner.observe(x, y)
        learner.observe(x, y)
        results.append([p.clone() for p in learner._net.parameters()])
    assert any(not torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_added_bytes_count_what_backward_needs():
    linear = nn.Linear(6, 3, bias=False)
    learner = BackPropagation(linear, np.zeros((2, 6), np.float32), np.zeros(2, np.int64), lr=0.1)
    x = np.zeros((8, 6), np.float32)
    # parameters 18 x 16, coreset 2 x (6 x 4 + 8), saved: the input batch of 10 x 6 floats
    assert learner.added_bytes(x) == 18 * 16 + 2 * 32 + 10 * 6 * 4
    deeper = BackPropagation(
        nn.Sequential(linear, nn.ReLU()), np.zeros((2, 6), np.float32), np.zeros(2, np.int64), lr=0.1
    )
    assert deeper.added_bytes(x) == learner.added_bytes(x) + 10 * 3 * 4


def test_coreset_codes_become_what_the_network_sees():
    q = QParams.from_range(-3.0, 5.0)
    real = generator(1, "test").uniform(-3, 5, (4, 3, 10)).astype(np.float32)
    codes = q.quantize(real)[:, :, None].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(decode_coreset(codes, q.scale, q.zero_point, (3, 10)), real, atol=q.scale / 2 + 1e-6)
    with pytest.raises(DataError, match="coreset: expected samples of shape"):
        decode_coreset(codes, q.scale, q.zero_point, (3, 11))


def test_every_width_has_a_tuned_rate():
    for network in [*RATES, "another"]:
        assert all(rate(network, bits) > 0 for bits in WEIGHT_BITS)
