"""FakeQuantNet computes what the integer graph computes, and learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from calibrant.core.dtype import weight_range
from calibrant.core.errors import ModelError
from calibrant.core.rng import generator
from calibrant.graph import interp
from calibrant.graph.graph import Graph
from calibrant.quantize import FakeQuantNet, annotate, finetune, observe_ranges, to_integer
from random_graphs import Sketch, random_annotated, random_graph, random_input


def real_output(graph: Graph, codes: np.ndarray) -> np.ndarray:
    """Reals of an integer graph's output."""
    q, last = graph.values[graph.output].qparams, graph.nodes[-1]
    if last.attrs.get("output_bits") == 32:
        scale = np.float32(q.scale) * last.params["weight_scale"]
        return codes * scale.reshape(-1, *[1] * (codes.ndim - 2))
    return q.dequantize(codes)


@pytest.mark.parametrize("seed", range(25))
def test_float_mode_is_the_float_graph(seed: int) -> None:
    graph = random_graph(seed, classifier=seed % 2 == 0)
    x = random_input(graph, 3, seed)
    net = FakeQuantNet(graph)
    np.testing.assert_allclose(net(torch.from_numpy(x)).detach().numpy(), interp.run(graph, x), rtol=1e-3, atol=1e-4)
    annotated = FakeQuantNet(annotate(graph, observe_ranges(graph, x), 8))
    with annotated.float_mode():
        assert torch.equal(annotated(torch.from_numpy(x)), net(torch.from_numpy(x)))
    assert annotated.quantized


@pytest.mark.parametrize("seed", range(40))
def test_outputs_of_the_integer_graph(seed: int) -> None:
    """Almost always equal; a float32 rounding next to a tie may move a code by one (about 1 sample in 600)."""
    annotated, x = random_annotated(seed, classifier=seed % 4 > 0)
    net = FakeQuantNet(annotated)
    integer = to_integer(net)
    expected = real_output(integer, interp.run(integer, annotated.values["x"].qparams.quantize(x)))
    with torch.no_grad():
        got = net(torch.from_numpy(x)).numpy()
    wrong = (np.abs(got - expected) > 1e-5 * np.abs(expected).max()).reshape(len(x), -1).any(axis=1)
    assert wrong.sum() <= 1, f"{wrong.sum()} of {len(x)} samples differ"


def small(bits: int = 4, seed: int = 0) -> tuple[FakeQuantNet, np.ndarray]:
    s = Sketch((3, 1, 12), generator(seed, "small"))
    y = s.emit("conv2d", ("x",), s.params(6, 3, 1, 3), pad_left=1, pad_right=1, clamp_low=0.0)
    y = s.emit("max_pool2d", (y,), kernel_h=1, kernel_w=2, stride_w=2)
    y = s.emit("conv2d", (y,), s.params(8, 6, 1, 3), pad_left=1, pad_right=1, clamp_low=0.0)
    y = s.emit("linear", (s.emit("mean", (y,)),), s.params(4, 8))
    graph = s.graph(y)
    x = generator(seed, "data").normal(0, 1, (160, 3, 12)).astype(np.float32)
    return FakeQuantNet(annotate(graph, observe_ranges(graph, x), bits)), x


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_codes_round_trip(bits: int) -> None:
    net, _ = small(bits)
    weights, bias = net.codes(), net.bias_codes()
    assert net.layers == list(weights) == ["conv2d0", "conv2d2", "linear4"]
    assert [weights[n].shape for n in net.layers] == [(6, 3, 1, 3), (8, 6, 1, 3), (4, 8, 1, 1)]
    assert all(w.dtype == np.int8 and np.abs(w).max() <= weight_range(bits)[1] for w in weights.values())
    rng = generator(0, "codes")
    limit = weight_range(bits)[1]
    changed = {n: rng.integers(-limit, limit + 1, w.shape).astype(np.int8) for n, w in weights.items()}
    moved = {n: (b + rng.integers(-999, 999, b.shape)).astype(np.int32) for n, b in bias.items()}
    net.load_codes(changed, moved)
    for name in net.layers:
        np.testing.assert_array_equal(net.codes()[name], changed[name])
        np.testing.assert_array_equal(net.bias_codes()[name], moved[name])
    net.load_codes({"conv2d0": weights["conv2d0"]}, {})
    np.testing.assert_array_equal(net.codes()["conv2d0"], weights["conv2d0"])
    np.testing.assert_array_equal(net.codes()["conv2d2"], changed["conv2d2"])


def test_loaded_codes_reach_the_integer_graph() -> None:
    net, _ = small(8)
    weights = {name: np.roll(codes, 1, axis=0) for name, codes in net.codes().items()}
    net.load_codes(weights, {})
    integer = to_integer(net)
    for node in integer.weighted():
        np.testing.assert_array_equal(node.params["weight"].ravel(), weights[node.name].ravel())
        assert (node.params["weight"].dtype, node.params["bias"].dtype) == (np.int8, np.int32)
    from_graph = to_integer(net.graph)
    assert not np.array_equal(from_graph.nodes[0].params["weight"], integer.nodes[0].params["weight"])


def test_load_codes_refuses() -> None:
    net, _ = small(2)
    good = net.codes()["conv2d0"]
    with pytest.raises(ModelError, match="expected names of layers"):
        net.load_codes({"nope": good}, {})
    with pytest.raises(ModelError, match=r"weights of 'conv2d0': expected shape \(6, 3, 1, 3\), got \(3, 6, 1, 3\)"):
        net.load_codes({"conv2d0": good.reshape(3, 6, 1, 3)}, {})
    with pytest.raises(ModelError, match="expected codes of 2 bits"):
        net.load_codes({"conv2d0": np.full_like(good, 2)}, {})
    with pytest.raises(ModelError, match=r"bias of 'linear4': expected shape \(4,\), got \(3,\)"):
        net.load_codes({}, {"linear4": np.zeros(3, np.int32)})


def test_record_holds_preactivations_and_their_gradients() -> None:
    net, x = small()
    record: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    net(torch.from_numpy(x[:5]), record=record).square().mean().backward()
    assert list(record) == net.layers
    integer = to_integer(net)
    codes = interp.evaluate(integer, net.graph.values["x"].qparams.quantize(x[:5])[:, :, None])
    for node in integer.weighted():
        z, active = record[node.name]
        assert z.grad is not None
        assert z.grad.shape == z.shape == active.shape
        assert z.grad.abs().sum() > 0
        if node.op == "linear":
            assert active.all()
        else:
            q = integer.values[node.output].qparams
            y = codes[node.output]
            assert (active.numpy() == ((y > q.zero_point) & (y < 127))).mean() > 0.999
            assert (z[active] > 0).all()
            assert z.min() < 0  # before the clamp


def test_gradient_is_that_of_the_float_network_at_eight_bits() -> None:
    """The straight-through gradient is an approximation that vanishes with the rounding."""
    net, x = small(8)
    batch = torch.from_numpy(x)
    net(batch).square().mean().backward()
    quantized = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    with net.float_mode():
        net(batch).square().mean().backward()
    for name, p in net.named_parameters():
        cosine = torch.nn.functional.cosine_similarity(p.grad.flatten(), quantized[name].flatten(), dim=0)
        assert cosine > 0.995, name
        assert 0.9 < quantized[name].norm() / p.grad.norm() < 1.1


def test_shapes_and_stages_are_checked() -> None:
    net, x = small()
    with pytest.raises(ModelError, match="input 'x': expected"):
        net(torch.zeros(2, 3, 13))
    assert torch.equal(net(torch.from_numpy(x[:2])), net(torch.from_numpy(x[:2, :, None])))
    with pytest.raises(ModelError, match="stage 'folded' or 'annotated', got 'integer'"):
        FakeQuantNet(to_integer(net))
    with pytest.raises(ModelError, match="stage 'annotated', got 'folded'"):
        FakeQuantNet(random_graph(0)).codes()
    with pytest.raises(ModelError, match="stage 'annotated', got 'folded'"):
        to_integer(random_graph(0))


def teach(net: FakeQuantNet, x: np.ndarray) -> np.ndarray:
    """Labels that the network can learn: which quarter of channel 0's mean."""
    mean = x[:, 0].mean(axis=1)
    return np.searchsorted(np.quantile(mean, [0.25, 0.5, 0.75]), mean).astype(np.int64)


def test_finetune_learns_and_is_deterministic() -> None:
    results = []
    calls: list[tuple[str, int, int]] = []
    for _ in range(2):
        net, x = small(2)
        y = teach(net, x)
        before, after = finetune(net, x, y, epochs=15, lr=5e-3, seed=3, progress=lambda *call: calls.append(call))
        assert after < 0.8 * before
        results.append((net.codes(), net.bias_codes()))
    for first, second in zip(*results, strict=True):
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])
    assert calls[:15] == [("finetune", epoch, 15) for epoch in range(1, 16)]


def test_finetune_restores_what_it_cannot_improve() -> None:
    net, x = small(8)
    y = teach(net, x)
    codes = net.codes()
    before, after = finetune(net, x, y, epochs=2, lr=100.0)
    assert after == before
    for name, value in net.codes().items():
        np.testing.assert_array_equal(value, codes[name])
