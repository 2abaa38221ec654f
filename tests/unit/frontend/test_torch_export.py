"""Torch models become graphs that compute the same, whatever the batch, and what cannot become one is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from calibrant.core.errors import ModelError
from calibrant.frontend import from_torch
from calibrant.graph import interp, text
from calibrant.graph.graph import Graph
from calibrant.graph.verify import verify
from networks import NETWORKS, network

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


def assert_same(graph: Graph, model: nn.Module, x: Tensor, tolerance: float = 1e-5) -> None:
    verify(graph)
    with torch.no_grad():
        expected = model.eval()(x).numpy()
    found = interp.run(graph, x.numpy())
    found = found[:, :, 0] if expected.ndim == 3 else found  # a series is a map of height 1
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_at_batch_one_and_five(name: str) -> None:
    model, x = network(name)
    graph = from_torch(model, x[:1])
    assert_same(graph, model, x)
    assert_same(graph, model, x[:1])


def test_the_batch_of_the_example_does_not_matter() -> None:
    model, x = network("inception")
    assert text.dump(from_torch(model, x[:1])) == text.dump(from_torch(model, x))


@pytest.mark.parametrize(("name", "decomposed"), [("inception", False), ("residual", True)])
def test_saved_exported_programs(name: str, decomposed: bool, tmp_path: Path) -> None:
    model, x = network(name)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model.eval(), (x,), dynamic_shapes=({0: batch},))
    torch.export.save(program.run_decompositions() if decomposed else program, tmp_path / "model.pt2")
    graph = from_torch(torch.export.load(tmp_path / "model.pt2"), x[:1])
    assert_same(graph, model, x)
    assert_same(graph, model, x[:1])


def test_exported_program_with_fixed_batch_serves_any() -> None:
    model, x = network("cnn")
    graph = from_torch(torch.export.export(model.eval(), (x[:3],)), x)
    assert_same(graph, model, x)


def test_names_are_module_paths() -> None:
    graph = from_torch(*network("inception"))
    ops = {node.name: node.op for node in graph.nodes}
    assert ops["blocks.0.branches.2"] == "conv2d"
    assert ops["blocks.1.norm"] == "batch_norm"
    assert ops["blocks.1.concat"] == "concat"
    assert ops["blocks.1.relu"] == "relu"
    assert ops["add"] == "add"
    assert ops["head"] == "linear"
    assert next(n.path for n in graph.nodes if n.name == "blocks.1.concat") == "blocks.1"


def test_training_flags_and_weights_stay_as_they_were() -> None:
    model, x = network("residual")
    model.norm2.eval()  # type: ignore[union-attr, operator]
    before = {name: module.training for name, module in model.named_modules()}
    graph = from_torch(model, x)
    assert {name: module.training for name, module in model.named_modules()} == before
    assert before["norm"]
    assert not before["norm2"]
    stem = next(n for n in graph.nodes if n.name == "stem")
    kept = stem.params["weight"].copy()
    with torch.no_grad():
        model.stem.weight.zero_()  # type: ignore[union-attr, operator]
    assert (stem.params["weight"] == kept).all()


class Lambda(nn.Module):
    """A forward given as a function, with a convolution to use."""

    def __init__(self, forward: Callable[..., Any], channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, 4, 3)
        self.gain = nn.Parameter(torch.ones(4, 1))
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


@pytest.mark.parametrize(("parts", "concats"), [(8, [8]), (9, [8, 2]), (17, [8, 8, 3]), (25, [8, 8, 8, 4])])
def test_a_wide_concat_is_a_shallow_tree(parts: int, concats: list[int]) -> None:
    model = Lambda(lambda m, x: torch.cat([m.conv(x) for _ in range(parts)], 1).mean(2))
    graph = from_torch(model, torch.zeros(1, 3, 11))
    nodes = [node for node in graph.nodes if node.op == "concat"]
    assert [len(node.inputs) for node in nodes] == concats
    assert [name for name in nodes[-1].inputs if name in {node.output for node in nodes}] == [
        node.output for node in nodes[:-1]
    ]
    leaves = [name for node in nodes for name in node.inputs if graph.producer(name).op == "conv2d"]  # type: ignore[union-attr]
    assert leaves == [node.output for node in graph.nodes if node.op == "conv2d"]


SAME: dict[str, Callable[..., Tensor]] = {
    "view": lambda m, x: m.conv(x).view(x.size(0), -1),
    "reshape": lambda m, x: m.conv(x).reshape(x.shape[0], 4 * 9),
    "global mean": lambda m, x: m.conv(x).mean((2,)),
    "negative dims": lambda m, x: torch.cat([m.conv(x), m.conv(x)], dim=-2).mean(-1),
    "there and back": lambda m, x: m.conv(x).unsqueeze(2).squeeze(2),
    "two dimensions": lambda m, x: F.max_pool2d(m.conv(x).unsqueeze(2), (1, 2)).mean((2, 3)),
    "identity slice": lambda m, x: m.conv(x)[:, :, :].contiguous().detach().clone(),
    "relu six": lambda m, x: F.relu6(m.conv(x)),
    "clamps": lambda m, x: m.conv(x).clamp_min(-0.3).clamp_max(0.4).clamp(-0.2, 0.3),
    "hardtanh": lambda m, x: F.hardtanh(m.conv(x)),
    "in place": lambda m, x: m.conv(x).add_(m.conv(x)).relu_(),
    "max pool ceil": lambda m, x: F.max_pool1d(m.conv(x), 4, 3, 2, ceil_mode=True),
    "max pool dilated": lambda m, x: F.max_pool1d(m.conv(x), 3, 2, 1, dilation=2),
    "avg pool ceil": lambda m, x: F.avg_pool1d(m.conv(x), 4, 3, ceil_mode=True),
    "avg pool ceil padded": lambda m, x: F.avg_pool1d(m.conv(x), 4, 3, 2, True, count_include_pad=False),
    "avg pool padded": lambda m, x: F.avg_pool1d(m.conv(x), 3, 2, 1),
    "adaptive": lambda m, x: F.adaptive_avg_pool1d(m.conv(x), 4),
    "adaptive plane": lambda m, x: F.adaptive_avg_pool2d(m.conv(x).unsqueeze(2), (None, 4)),
    "ten-fold concat": lambda m, x: torch.cat([m.conv(x) for _ in range(10)], 1).mean(2),
    "twice the same": lambda m, x: torch.cat([y := m.conv(x), y], 1).mean(2),
    "add to itself": lambda m, x: (y := m.conv(x)) + y,
    "folded weight": lambda m, x: F.conv1d(x, m.conv.weight * 2, m.conv.bias.abs()),
    "padded": lambda m, x: m.conv(F.pad(x, (3, 1))),
    "unused branch": lambda m, x: (m.conv(x), m.conv(x).relu())[0],
    "padded plane": lambda m, x: F.conv2d(F.pad(x.unsqueeze(2), (3, 1, 2, 0)), m.conv.weight[:, :, None]).mean((2, 3)),
    "dropout": lambda m, x: F.dropout(m.conv(x), 0.5, m.training),
    "same plane": lambda m, x: F.conv2d(x.unsqueeze(2), m.conv.weight[:, :, None, :2], padding="same"),
    "all squeezed": lambda m, x: m.conv(x).mean(2, keepdim=True).squeeze(),
    "global maximum": lambda m, x: F.adaptive_max_pool1d(m.conv(x), 1),
    "thirds maximum": lambda m, x: F.adaptive_max_pool2d(m.conv(x).unsqueeze(2), (1, 3)),
    "amax": lambda m, x: m.conv(x).amax(-1),
    "amax kept": lambda m, x: m.conv(x).unsqueeze(2).amax((2, 3), keepdim=True),
    "max values": lambda m, x: m.conv(x).max(2).values,
    "linear": lambda m, x: F.linear(m.conv(x).mean(2), m.conv.weight[:, :2].flatten(0, 1).T[:, :4], m.conv.bias[:3]),
    "linear without bias": lambda m, x: F.linear(m.conv(x).mean(2), m.conv.weight[:, 0].T),
    "select the only": lambda m, x: F.adaptive_avg_pool1d(m.conv(x), 1)[..., 0],
}


@pytest.fixture(scope="module", params=["as exported", "decomposed"])
def forms(request: pytest.FixtureRequest) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """(found, expected) of each form; all are branches of one model, for an export takes half a second."""
    model = Lambda(lambda m, x: torch.cat([torch.flatten(form(m, x), 1) for form in SAME.values()], 1)).eval()
    x = torch.randn(3, 3, 11, generator=torch.Generator().manual_seed(1))
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    graph = from_torch(program if request.param == "as exported" else program.run_decompositions(), x)
    with torch.no_grad():
        parts = {name: form(model, x).flatten(1).numpy() for name, form in SAME.items()}
    ends = np.cumsum([part.shape[1] for part in parts.values()])
    found = np.split(interp.run(graph, x.numpy()), ends, axis=1)
    return {name: (found[i], part) for i, (name, part) in enumerate(parts.items())}


@pytest.mark.parametrize("name", SAME)
def test_forms_of_the_same_ops(name: str, forms: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    found, expected = forms[name]
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-6 * max(1.0, np.abs(expected).max())


REFUSED: dict[str, tuple[Callable[..., Any], str]] = {
    "unknown activation": (lambda m, x: F.gelu(m.conv(x)), r"unsupported op aten\.gelu\.default.*: use nn\.ReLU or"),
    "unknown op": (
        lambda m, x: m.conv(x).exp(),
        r"unsupported op aten\.exp\.default.*: replace it.*; supported: Conv1d",
    ),
    "softmax": (lambda m, x: m.conv(x).mean(2).softmax(1), "drop the softmax"),
    "transpose": (lambda m, x: m.conv(x).transpose(1, 2), r"unsupported op aten\.transpose"),
    "number added": (lambda m, x: m.conv(x) + 1.0, "got a constant"),
    "parameter added": (lambda m, x: m.conv(x) + m.gain, "got a constant"),
    "scaled add": (lambda m, x: torch.add(x, x, alpha=2), "expected alpha = 1, got 2"),
    "broadcast add": (lambda m, x: (y := m.conv(x)) + y.mean(2, keepdim=True), "no broadcasting"),
    "concat over time": (lambda m, x: torch.cat([x, x], 2), r"dim 1\), got dim 2"),
    "channel mean": (lambda m, x: m.conv(x).mean(1), r"reduction over all of time .*, got dims \[1\]"),
    "other reshape": (lambda m, x: m.conv(x).view(x.size(0), 2, 18), r"only reshapes to \[N, features\]"),
    "batch in reshape": (lambda m, x: m.conv(x).mean(2).view(-1, 2), "only reshapes"),
    "uneven maximum": (lambda m, x: F.adaptive_max_pool1d(m.conv(x), 4), r"divides the input's \[1, 9\], got \[1, 4\]"),
    "index of the maximum": (lambda m, x: m.conv(x).max(2)[1].float(), "unsupported op|only the first result"),
    "no statistics": (lambda m, x: F.batch_norm(m.conv(x), None, None, training=True), "track_running_stats=True"),
    "position": (lambda m, x: m.conv(x)[:, :, -1], "use a pool or a mean"),
    "slice": (lambda m, x: m.conv(x)[:, :, 1:], "slice the window before the model"),
    "computed weight": (lambda m, x: F.linear(x.mean(2), x.mean(2)), "expected a constant weight, got one computed"),
    "linear per step": (lambda m, x: F.linear(x, torch.ones(2, 11)), r"expected a vector"),
    "two outputs": (lambda m, x: (m.conv(x), x), "one output tensor, got 2"),
    "pool of padding": (lambda m, x: F.max_pool1d(F.pad(x, (1, 0)), 2), "only a convolution may read a padded value"),
    "padding with ones": (lambda m, x: m.conv(F.pad(x, (1, 1), value=1.0)), "only zeros"),
    "channel padding": (lambda m, x: F.pad(m.conv(x), (0, 0, 0, 1)), "expected padding of time"),
    "mirrored padding": (lambda m, x: m.conv(F.pad(x, (1, 1), "reflect")), r"mode 'reflect'|aten\.reflection"),
    "counted ceil": (lambda m, x: F.avg_pool1d(m.conv(x), 4, 2, 2, True), "set count_include_pad=False"),
    "divisor": (lambda m, x: F.avg_pool2d(x.unsqueeze(2), (1, 2), divisor_override=3), "divisor_override"),
    "transposed": (lambda m, x: F.conv_transpose1d(x, torch.ones(3, 2, 2)), r"unsupported op aten\.conv_transpose1d"),
    "half inside": (lambda m, x: F.conv1d(x.half(), m.conv.weight.half()), "unsupported op aten|float16"),
    "data-dependent": (
        lambda m, x: m.conv(x) if x.sum() > 0 else x,
        "Lambda: torch.export failed on an input of shape",
    ),
    "fixed batch": (lambda m, x: m.conv(x).reshape(2, 36), "Lambda: torch.export failed"),
    "wrong channels": (lambda m, x: m.conv(x[:, :2]), "Lambda: torch.export failed"),
    "five dimensions": (lambda m, x: F.relu(x.unsqueeze(2)).unsqueeze(2), r"only reshapes"),
    "returns a weight": (lambda m, x: m.gain, "got a constant"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str) -> None:
    forward, message = REFUSED[name]
    with pytest.raises(ModelError, match=message) as caught:
        from_torch(Lambda(forward), torch.zeros(2, 3, 11))
    assert "\n" not in str(caught.value)


def test_refusal_names_the_module() -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.Sequential(nn.GELU()))
    with pytest.raises(ModelError, match=r"unsupported op aten\.gelu\.default at '1\.0' \(torch\.nn\.GELU\): use"):
        from_torch(model, torch.zeros(1, 3, 9))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (np.zeros((1, 3, 9), np.float32), "expected one tensor, got ndarray"),
        (torch.zeros(1, 3, 9, dtype=torch.float64), "expected float32, got float64"),
        (torch.zeros(9), r"got shape \[9\]"),
        (torch.zeros(0, 3, 9), r"got shape \[0, 3, 9\]"),
    ],
)
def test_examples_are_checked(example: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        from_torch(nn.Conv1d(3, 4, 3), example)


def test_half_weights_are_refused() -> None:
    with pytest.raises(ModelError, match=r"weight 'weight': expected float32, got float16; call model\.float\(\)"):
        from_torch(nn.Conv1d(3, 4, 3).half(), torch.zeros(1, 3, 9))


class Sum(nn.Module):
    """Two inputs."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def test_programs_are_checked() -> None:
    x = torch.zeros(2, 3, 9)
    with pytest.raises(ModelError, match="one input tensor, got 2"):
        from_torch(torch.export.export(Sum(), (x, x)), x)
    conv = nn.Conv1d(3, 4, 3).eval()
    with pytest.raises(ModelError, match=r"expected an example \[N, 3, 9\], got shape \[2, 3, 8\]"):
        from_torch(torch.export.export(conv, (x,)), x[:, :, :8])
    long = torch.export.export(conv, (x,), dynamic_shapes=({2: torch.export.Dim("time", min=4)},))
    with pytest.raises(ModelError, match="only the batch dimension may be dynamic"):
        from_torch(long, x)
    double = torch.export.export(nn.ReLU(), (x.double(),))
    with pytest.raises(ModelError, match="expected a float32 tensor"):
        from_torch(double, x)
    half = torch.export.export(nn.Conv1d(3, 4, 3).half().eval(), (x.half(),))
    with pytest.raises(ModelError, match="weight 'weight': expected float32, got float16"):
        from_torch(half, x)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(3), nn.Dropout(0.5)])
def test_programs_in_training_mode_are_refused(layer: nn.Module) -> None:
    program = torch.export.export(layer.train(), (torch.zeros(2, 3, 9),))
    with pytest.raises(ModelError, match=r"call model\.eval\(\) before torch\.export\.export"):
        from_torch(program, torch.zeros(2, 3, 9))
