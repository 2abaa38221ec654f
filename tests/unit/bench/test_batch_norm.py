"""The batch-norm control is batch norm: behind the fold it gives what re-estimated statistics give before it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import networks
from calibrant import frontend, passes
from calibrant.bench.baselines import BatchNormStatistics, normalized_layers
from calibrant.core.rng import generator
from calibrant.pipeline import float_training
from calibrant.quantize import FakeQuantNet
from deployments import deployment


@pytest.fixture(autouse=True)
def one_thread():
    with float_training.threads(1):
        yield


def samples(shape, count, drift):
    x = generator(int(10 * drift), "test").normal(size=(count, *shape))
    return (x * (1 + drift) + drift).astype(np.float32)


def restated(model, x, momentum):
    """The model with its batch norms' statistics moved to those of `x`, by torch."""
    model = copy.deepcopy(model).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = momentum
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        model(torch.from_numpy(x))
    return model.eval()


@pytest.mark.parametrize("name", ["residual", "inception", "perceptron"])
def test_it_equals_re_estimation_before_the_fold(name):
    model, _ = networks.network(name)
    shape = networks.NETWORKS[name][1]
    source, window, test = samples(shape, 200, 0.0), samples(shape, 60, 0.7), torch.from_numpy(samples(shape, 20, 0.7))
    model = restated(model, source, 1.0)  # trained statistics that are those of the source
    folded = FakeQuantNet(passes.run(frontend.from_torch(model, torch.from_numpy(source[:2]))))
    layers = normalized_layers(model, source[:2])
    subject = BatchNormStatistics(folded, layers, source, momentum=1.0)
    with torch.no_grad():
        torch.testing.assert_close(subject.net(test), model(test), rtol=1e-4, atol=1e-4)
        subject.observe(window, np.zeros(60, np.int64))
        expected = restated(model, window, 1.0)(test)
        assert not torch.allclose(expected, model(test), rtol=0.05)
        torch.testing.assert_close(subject.net(test), expected, rtol=2e-3, atol=2e-3)


def test_statistics_run_over_windows():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv1d(3, 5, 3), nn.BatchNorm1d(5)
        )  # one norm: torch's training mode sees no other inputs
    source, *windows = (samples((3, 12), 80, drift) for drift in (0.0, 0.4, 0.9))
    model = restated(model, source, 1.0)
    folded = FakeQuantNet(passes.run(frontend.from_torch(model, torch.from_numpy(source[:2]))))
    subject = BatchNormStatistics(folded, normalized_layers(model, source[:2]), source, momentum=0.3)
    for window in windows:
        subject.observe(window, np.zeros(80, np.int64))
        model = restated(model, window, 0.3)
    test = torch.from_numpy(windows[1])
    with torch.no_grad():
        torch.testing.assert_close(subject.net(test)[:, :, 0], model(test), rtol=1e-3, atol=1e-3)


def test_only_layers_that_carried_a_norm_are_touched():
    model, _ = networks.network("inception")
    graph = passes.run(frontend.from_torch(model.eval(), torch.zeros(2, 3, 19)))
    found = normalized_layers(model, np.zeros((2, 3, 19), np.float32))
    left = {node.path for node in graph.weighted() if node.name not in found}
    assert left == {"blocks.0.bottleneck", "blocks.1.bottleneck", "head"}
    pre = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 3)).eval()
    assert normalized_layers(pre, np.zeros((2, 4), np.float32)) == frozenset()


def test_on_the_quantized_network_it_adapts_without_labels_and_moves_no_weight_code():
    small = deployment()
    (source, _), (x, y) = small.standardized(small.source), small.standardized(small.target)
    layers = normalized_layers(small.float_net, source[:2])
    assert layers == {"0", "3"}
    results = []
    for labels in (y, np.full_like(y, -1)):
        subject = BatchNormStatistics(small.prepared.net, layers, source, momentum=1.0)
        before = (subject.predict(x) == y).mean()
        subject.observe(x, labels)
        results.append([value.clone() for value in subject.net.state_dict().values()])
        assert (subject.predict(x) == y).mean() > before + 0.2
    assert all(map(torch.equal, *results))
    codes = subject.net.codes()
    for name, expected in small.prepared.net.codes().items():
        assert (codes[name] == expected).all()
    assert any((a != b).any() for a, b in zip(subject.net.bias_codes().values(),
                                              small.prepared.net.bias_codes().values(), strict=True))  # fmt: skip
    assert subject.added_bytes(x) == 24 * 16 + x.size


def test_without_drift_nothing_moves_much():
    small = deployment()
    source, y = small.standardized(small.source)
    subject = BatchNormStatistics(
        small.prepared.net, normalized_layers(small.float_net, source[:2]), source, momentum=1.0
    )
    subject.observe(source, y)
    with torch.no_grad():
        x = torch.from_numpy(source)
        assert float((subject.net(x) - small.prepared.net(x)).abs().max()) < 1e-3
