"""Reference networks: published sizes, seeds, and that the frontend takes each of them."""

import numpy as np
import pytest
import torch

from calibrant import frontend, passes, quantize, zoo
from calibrant.bench import training
from calibrant.core.errors import ModelError

SHAPES = {"cnn": (45, 125), "inception_time": (45, 125), "small_cnn": (1, (16, 16))}


@pytest.fixture(autouse=True)
def one_thread():
    with training.threads(1):  # several are slower on networks this small
        yield


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "length", "classes", "expected"),
    [("inception_time", 45, 125, 19, 465_747), ("inception_time", 6, 500, 12, 457_356), ("cnn", 45, 125, 19, 89_203)],
)
def test_parameter_counts(name, channels, length, classes, expected):
    assert parameters(zoo.build(name, channels, length, classes)) == expected


def test_the_cnn_costs_what_it_says():
    net, total = zoo.build("cnn", 45, 125, 19), 0

    def count(module, _, output):
        nonlocal total
        total += module.weight.numel() * output[0].shape[-1] if output.ndim == 3 else module.weight.numel()

    for module in net.modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.Linear):
            module.register_forward_hook(count)
    net(torch.zeros(1, 45, 125))
    assert 2.7e6 < total < 3.0e6


@pytest.mark.parametrize("name", SHAPES)
def test_seeded_and_without_side_effects(name):
    channels, shape = SHAPES[name]
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    first, again, other = (zoo.build(name, channels, shape, 7, seed) for seed in (1, 1, 2))
    assert (torch.rand(3) == expected).all()
    for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", SHAPES)
def test_the_frontend_takes_it(name):
    channels, shape = SHAPES[name]
    net = zoo.build(name, channels, shape, 7, seed=1)
    x = torch.randn(3, channels, *np.atleast_1d(shape).tolist())
    # Batch norm statistics that are not 0 and 1, so that folding has something to fold.
    net.train()
    with torch.no_grad():
        net(3 * x + 1)
        net.eval()
        expected = net(x)
        got = quantize.FakeQuantNet(passes.run(frontend.from_torch(net, x)))(x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_bad_requests_are_named():
    with pytest.raises(ModelError, match="network: expected one of cnn, inception_time, small_cnn, got 'vgg'"):
        zoo.build("vgg", 3, 32, 10)
    with pytest.raises(ModelError, match="network 'cnn': expected positive channels"):
        zoo.build("cnn", 3, (8, 8), 10)
    with pytest.raises(ModelError, match="network 'small_cnn': expected positive channels"):
        zoo.build("small_cnn", 0, (8, 8), 10)
