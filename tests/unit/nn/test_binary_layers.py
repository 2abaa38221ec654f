"""Binary layers in torch: what they compute, how gradients pass their signs, and that one is one node of an export."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import binary_networks
from calibrant.core.errors import ModelError
from calibrant.frontend import from_torch
from calibrant.graph import interp
from calibrant.nn import BinaryConv1d, BinaryConv2d, BinaryLinear


def signs(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x < 0, -1.0, 1.0)


class Straight(torch.autograd.Function):
    """The sign with a slope written out, to hold the layers' own gradients against."""

    @staticmethod
    def forward(ctx, x, slope):
        ctx.save_for_backward(x)
        ctx.slope = slope
        return signs(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        if ctx.slope == "straight":
            return grad * (x.abs() <= 1), None
        return grad * torch.where(x.abs() <= 1, 2 - 2 * x.abs(), 0.0), None


def weights_of(layer: nn.Module) -> torch.Tensor:
    found = Straight.apply(layer.weight, "straight")
    if layer.scale == "none":
        return found
    dims = tuple(range(1, layer.weight.ndim))
    return found * layer.weight.detach().abs().mean(dim=dims, keepdim=True)


@pytest.mark.parametrize("scale", ["none", "magnitude"])
@pytest.mark.parametrize("slope", ["straight", "approximate"])
def test_outputs_and_gradients(slope: str, scale: str) -> None:
    torch.manual_seed(0)
    about = {"slope": slope, "scale": scale, "bias": True}
    conv1d = BinaryConv1d(5, 4, 3, stride=2, padding=2, dilation=2, **about)
    conv2d = BinaryConv2d(3, 4, (3, 2), stride=(1, 2), padding=(1, 0), **about)
    linear = BinaryLinear(9, 4, **about)
    cases = {
        conv1d: (torch.randn(6, 5, 11), lambda s, w, b: F.conv1d(F.pad(s, (2, 2), value=1.0), w, b, 2, 0, 2)),
        conv2d: (torch.randn(6, 3, 7, 8), lambda s, w, b: F.conv2d(F.pad(s, (0, 0, 1, 1), value=1.0), w, b, (1, 2))),
        linear: (torch.randn(6, 9), F.linear),
    }
    for layer, (x, apply) in cases.items():
        nn.init.normal_(layer.weight)  # some beyond the reach of the slope
        nn.init.normal_(layer.bias)
        parts = (x.requires_grad_(), layer.weight, layer.bias)
        expected = apply(Straight.apply(x, slope), weights_of(layer), layer.bias)
        found = layer(x)
        assert torch.allclose(found, expected, atol=1e-6)
        signal = torch.randn_like(found)
        wanted = torch.autograd.grad(expected, parts, signal)
        for got, gradient in zip(torch.autograd.grad(found, parts, signal), wanted, strict=True):
            assert torch.allclose(got, gradient, atol=1e-5)
            assert gradient.abs().max() > 0


def test_0_counts_as_1() -> None:
    layer = BinaryLinear(4, 1, scale="none")
    nn.init.zeros_(layer.weight)
    assert layer(torch.tensor([[0.0, -0.0, 0.0, -1e-9]])).item() == 2


@pytest.mark.parametrize(("model", "shape"), [(binary_networks.series, (3, 24)), (binary_networks.image, (2, 7, 6))])
def test_a_layer_is_one_node_of_the_export_and_two_of_the_graph(model, shape) -> None:
    net, x = model(), torch.randn(5, *shape)
    exported = torch.export.export(net, (x,), strict=False)
    layers = [m for m in net.modules() if isinstance(m, BinaryConv1d | BinaryConv2d | BinaryLinear)]
    calls = [str(n.target) for n in exported.graph.nodes if "calibrant" in str(n.target)]
    assert len(calls) == len(layers)
    graph = from_torch(net, x[:1])
    made = [node for node in graph.nodes if node.op.startswith("binary")]
    assert len(made) == len([node for node in graph.nodes if node.op == "sign"]) == len(layers)
    paths = {module: path for path, module in net.named_modules()}
    assert [node.name for node in made] == [paths[layer] for layer in layers]
    with torch.no_grad():
        expected = net(x).numpy()
    assert np.abs(interp.run(graph, x.numpy()) - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("make", [
    lambda: BinaryConv1d(3, 4, 3, slope="soft"),
    lambda: BinaryConv1d(3, 4, 3, scale="mean"),
    lambda: BinaryConv1d(0, 4, 3),
    lambda: BinaryConv2d(3, 4, (3, 3, 3)),
    lambda: BinaryConv1d(3, 4, 3, padding=-1),
    lambda: BinaryConv1d(3, 4, 3, stride=0),
    lambda: BinaryConv1d(3, 4, 3, stride=2, padding="same"),
])  # fmt: skip
def test_what_cannot_be_is_refused(make) -> None:
    with pytest.raises(ModelError, match="expected"):
        make()


def test_weights_of_several_magnitudes_are_no_signs() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([[1.0, -2.0]]))

        def forward(self, x):
            return torch.ops.calibrant.binary_linear(x, self.weight, None, "straight")

    with pytest.raises(ModelError, match="one magnitude per output channel"):
        from_torch(Wrong(), torch.zeros(2, 2))
