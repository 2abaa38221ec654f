"""Reference networks: published sizes, seeds, and that the frontend takes each of them."""

import numpy as np
import pytest
import torch

from calibrant import frontend, passes, quantize, zoo
from calibrant.core.errors import ModelError
from calibrant.pipeline import float_training
from calibrant.zoo.omniscale_cnn import OmniScaleLayer, kernel_lengths

SHAPES = {
    "cnn": (45, 125),
    "binary_cnn": (45, 125),
    "inception_time": (45, 125),
    "omniscale_cnn": (6, 50),
    "small_cnn": (1, (16, 16)),
    "resnet18-w4": (3, (14, 16)),
    "vgg16-w4": (3, (32, 34)),
}


@pytest.fixture(autouse=True)
def one_thread():
    with float_training.threads(1):  # several are slower on networks this small
        yield


def parameters(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "channels", "length", "classes", "expected"),
    [
        ("inception_time", 45, 125, 19, 465_747),
        ("inception_time", 6, 500, 12, 457_356),
        ("cnn", 45, 125, 19, 89_203),
        ("binary_cnn", 45, 125, 19, 89_203),
        ("omniscale_cnn", 45, 125, 19, 102_721),
        ("resnet18", 3, (32, 32), 10, 11_173_962),
        ("resnet18-w16", 3, (32, 32), 10, 701_466),
        ("vgg16", 3, (32, 32), 10, 15_250_378),
        ("vgg16-w16", 3, (32, 32), 10, 956_410),
    ],
)
def test_parameter_counts(name, channels, length, classes, expected):
    assert parameters(zoo.build(name, channels, length, classes)) == expected


@pytest.mark.parametrize(
    ("name", "channels", "shape", "millions"),
    [
        ("cnn", 45, (125,), 2.9),
        ("omniscale_cnn", 45, (125,), 12.6),
        ("resnet18", 3, (32, 32), 556),
        ("resnet18-w16", 3, (32, 32), 35.0),
        ("vgg16", 3, (32, 32), 314),
        ("vgg16-w16", 3, (32, 32), 19.9),
    ],
)
def test_networks_cost_what_they_say(name, channels, shape, millions):
    net, total = zoo.build(name, channels, shape, 10), 0

    def count(module, _, output):
        nonlocal total
        total += module.weight.numel() * (output[0].numel() // output.shape[1])

    for module in net.modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        net(torch.zeros(1, channels, *shape))
    assert total / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize("limit", [2, 5, 13, 31, 89])
def test_two_layers_of_prime_kernels_see_every_scale(limit):
    kernels = kernel_lengths(limit)
    assert kernels[:3] == (1, 2, 3)[: len(kernels)]
    assert all(n % k for n in kernels[1:] for k in range(2, n))
    reach = {a + b + c - 2 for a in kernels for b in kernels for c in (1, 2)}
    assert reach >= set(range(1, max(kernels) + 2))


def test_an_omni_scale_layer_keeps_time_and_its_budget():
    layer = OmniScaleLayer(3, (1, 2, 3, 5), 200).eval()
    with torch.no_grad():
        for branch in layer.branches:
            for weight in branch.parameters():
                weight.fill_(1.0)
        x = torch.zeros(1, 3, 9)
        x[0, 1, 4] = 1.0
        seen = layer(x)[0]
    assert layer.width == 4 * (200 // (3 * 11))
    assert seen.shape == (layer.width, 9)
    each = layer.width // 4
    reached = [torch.nonzero(seen[i * each]).flatten().tolist() for i in range(4)]
    assert reached == [[4], [3, 4], [3, 4, 5], [2, 3, 4, 5, 6]]


def test_a_width_scales_every_stage():
    for name in ("resnet18", "vgg16"):
        shapes = [
            {n: w.shape for n, w in zoo.build(f"{name}{suffix}", 3, (32, 32), 10).named_parameters()}
            for suffix in ("-w8", "-w16", "-w64", "")
        ]
        assert shapes[2] == shapes[3]
        for key, narrow in shapes[0].items():
            assert shapes[1][key][0] == (10 if len(narrow) and narrow[0] == 10 else 2 * narrow[0])


def test_ranks():
    assert [zoo.rank(name) for name in ("cnn", "omniscale_cnn", "small_cnn", "vgg16", "vgg16-w16")] == [2, 2, 3, 3, 3]


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


@pytest.mark.parametrize("name", ["vgg", "cnn-w16", "resnet18-w0", "resnet18-w", "resnet18-w016", "vgg16-w4-w4", ""])
def test_unknown_names_are_refused(name):
    known = "cnn, binary_cnn, mlp, inception_time, omniscale_cnn, small_cnn, resnet18, vgg16"
    for ask in (lambda: zoo.build(name, 3, 32, 10), lambda: zoo.rank(name)):
        with pytest.raises(ModelError) as caught:
            ask()
        assert str(caught.value) == f"network: expected one of {known} (resnet18, vgg16 also with -wN), got '{name}'"


def test_bad_sizes_are_named():
    with pytest.raises(ModelError, match="network 'cnn': expected positive channels"):
        zoo.build("cnn", 3, (8, 8), 10)
    with pytest.raises(ModelError, match="network 'small_cnn': expected positive channels"):
        zoo.build("small_cnn", 0, (8, 8), 10)
    with pytest.raises(ModelError, match=r"network 'resnet18-w4': .* 2 side\(s\), got 3, 10 and \(32,\)"):
        zoo.build("resnet18-w4", 3, 32, 10)
