"""Signs go where they cost least, and the graph computes what it did."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import binary_networks
from calibrant import passes
from calibrant.frontend import from_torch
from calibrant.graph import interp
from calibrant.nn import BinaryConv1d, BinaryLinear


def folded(model, *shape):
    """The graph after the passes, equal to the model but where a sum is next to 0."""
    x = torch.randn(20, *shape)
    graph = passes.run(from_torch(model.eval(), x[:1]))
    with torch.no_grad():
        expected = model(x).numpy().reshape(20, -1)
    found = interp.run(graph, x.numpy()).reshape(20, -1)
    assert (np.abs(found - expected) <= 1e-4 * max(1.0, np.abs(expected).max())).mean() > 0.95
    return graph


def kinds(graph):
    return [f"{node.op}:{node.attrs.get('output_bits', 8)}" for node in graph.nodes]


def test_layers_of_every_sort():
    assert kinds(folded(binary_networks.series(), 3, 24)) == [
        "conv2d:8",
        "sign:1", "binary_conv2d:1",  # with normalization and clamp
        "binary_conv2d:8",  # a shortcut reads it too
        "sign:1", "binary_conv2d:8", "add:8",
        "sign:1", "flatten:8", "binary_linear:1",  # signs of the map, flattened
        "binary_linear:8", "linear:8",
    ]  # fmt: skip


def test_a_max_pool_keeps_codes():
    assert kinds(folded(binary_networks.image(), 2, 7, 6)) == [
        "conv2d:8", "sign:1", "binary_conv2d:8", "max_pool2d:8", "sign:1", "binary_conv2d:8", "flatten:8", "linear:8",
    ]  # fmt: skip


class Twice(nn.Module):
    """Two layers read the signs of one value."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = BinaryConv1d(4, 6, 3, padding=1), BinaryConv1d(4, 6, 3, padding=1)

    def forward(self, x):
        return self.a(x) + self.b(x)


def test_readers_share_signs():
    assert kinds(folded(Twice(), 4, 9)) == ["sign:1", "binary_conv2d:8", "binary_conv2d:8", "add:8"]


@pytest.mark.parametrize(("clamp", "bits"), [
    (nn.Hardtanh(-1, 1), 1), (nn.Hardtanh(-1, 0), 1), (nn.ReLU(), 8), (nn.Hardtanh(-2, -1), 8), (nn.Hardtanh(1, 2), 8),
])  # fmt: skip
def test_a_clamp_that_hides_signs_stays(clamp, bits):
    model = nn.Sequential(BinaryLinear(6, 5), clamp, BinaryLinear(5, 3))
    graph = folded(model, 6)
    assert next(node for node in graph.nodes if node.name == "0").attrs.get("output_bits", 8) == bits


def test_the_output_is_no_sign():
    graph = folded(nn.Sequential(BinaryLinear(6, 5), nn.BatchNorm1d(5)), 6)
    assert kinds(graph) == ["sign:1", "binary_linear:8"]
