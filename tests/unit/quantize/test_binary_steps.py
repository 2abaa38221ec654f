"""Binary layers in the fake-quantized network: codes of the integer program, gradients for what is not a sign."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import binary_networks
from calibrant import passes
from calibrant.core.logits import logits
from calibrant.core.qparams import QParams
from calibrant.engine import Engine, variants
from calibrant.frontend import from_torch
from calibrant.graph import interp
from calibrant.ops.binary import SIGNS, UNIT
from calibrant.plan import lower
from calibrant.quantize import FakeQuantNet, annotate, finetune, observe_ranges, to_integer


def quantized(model, *shape, n=40, bits=8):
    x = torch.randn(n, *shape, generator=torch.Generator().manual_seed(3)).numpy()
    graph = passes.run(from_torch(model, torch.from_numpy(x[:1])))
    return FakeQuantNet(annotate(graph, observe_ranges(graph, x), bits)), x


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize(("model", "shape"), [(binary_networks.series, (3, 24)), (binary_networks.image, (2, 7, 6))])
def test_numpy_c_and_the_network_are_equal(model, shape, bits):
    net, x = quantized(model(), *shape, bits=bits)
    integer = to_integer(net)
    program, constants = lower(integer)
    assert {layer.bits for layer in program.layers} == {1, bits}
    x = np.concatenate([x, 40 * x, 0 * x])
    codes = net.graph.values[net.graph.input].qparams.quantize(x)
    codes = codes.reshape(len(x), *integer.values[integer.input].shape)
    wanted = interp.run(integer, codes)
    for variant in variants():
        got = Engine(program, constants, variant).infer(np.ascontiguousarray(codes.transpose(0, 2, 3, 1)))
        assert np.array_equal(got, wanted.reshape(got.shape))
    with torch.no_grad():
        scores = net(torch.from_numpy(x)).numpy()
    assert np.abs(scores - logits(got, program, constants)).max() <= 1e-5 * np.abs(scores).max()


def test_annotation():
    net, _ = quantized(binary_networks.series(), 3, 24)
    nodes = {node.name: node for node in net.graph.nodes}
    assert [node.attrs["weight_bits"] for node in net.graph.weighted()] == [8, 1, 1, 1, 1, 1, 8]
    assert net.graph.values["2.sign"].qparams == net.graph.values["2"].qparams == SIGNS
    assert net.graph.values["5"].qparams != SIGNS
    magnitude = np.abs(nodes["5"].params["weight"]).reshape(33, -1)
    assert np.array_equal(nodes["5"].params["weight_scale"], magnitude[:, 0] / np.float32(UNIT))


def test_fine_tuning_moves_all_but_signs():
    net, x = quantized(binary_networks.learnable(), 3, 24, n=120)
    before = {name: codes.copy() for name, codes in net.codes().items()}
    x, y = binary_networks.windows(120)
    losses = finetune(net, x, y, epochs=6, lr=5e-3)
    assert losses[1] < losses[0]
    for name, codes in net.codes().items():
        binary_layer = before[name].size and set(np.unique(before[name])) <= {-1, 1}
        assert np.array_equal(codes, before[name]) == binary_layer, name


def test_a_threshold_learns_through_its_real_bias():
    net, x = quantized(binary_networks.series(), 3, 24)
    net(torch.from_numpy(x)).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients.values())
    steps = {step.name: step for step in net.steps}
    assert steps["2"].weight.grad is None
    assert steps["2"].bias.grad.abs().max() > 0
    assert steps["0"].weight.grad.abs().max() > 0


def test_a_channel_of_no_weight_has_its_sign_or_its_bias():
    model = binary_networks.series()
    with torch.no_grad():
        model[3].weight[:2] = 0.0
        model[3].bias[:2] = torch.tensor([0.5, -0.5])
        model[6].weight[0] = 0.0
        model[6].bias[0] = 3.0
    net, x = quantized(model, 3, 24)
    values = net.trace(torch.from_numpy(x))
    assert (values["2"][:, 0] == 1).all()
    assert (values["2"][:, 1] == -1).all()
    q: QParams = net.graph.values["5"].qparams
    assert (values["5"][:, 0] - 3.0).abs().max() <= q.scale
