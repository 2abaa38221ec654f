"""The published int8 networks: pixel-exact against their formula, and wrong files named in one line."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from calibrant.core.errors import DataError, ModelError
from calibrant.engine import Engine
from calibrant.graph import interp
from calibrant.plan.lower import lower
from calibrant.zoo import load_tinyml

FOLDER = Path(os.environ.get("CALIBRANT_DATA", Path(__file__).parents[4] / "shared" / "data"))
real = pytest.mark.skipif(not (FOLDER / "tinyml").is_dir(), reason=f"no tinyml in {FOLDER}; set CALIBRANT_DATA")
NETWORKS = {"mcunet-5fps": 42, "mbv2-w0.35": 51, "proxyless-w0.3": 60}


def rounded(x):
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


def formula(stem, x):
    """y = clamp(round(s_x * s_w[c] / s_y * acc) + z_y), in float64 from the files alone; x is codes [C, H, W]."""
    arrays, nodes = np.load(f"{stem}.npz"), json.loads(Path(f"{stem}.json").read_text())["nodes"]
    values = {"input": (x.astype(np.float64), 2 / 255, 0)}
    for node in nodes:
        name, sources = node["name"], [values[i] for i in node["inputs"]]
        (x, scale, zero), y_scale, y_zero = sources[0], node.get("out_scale"), node.get("out_zero")
        if node["op"] == "mean_hw":
            values[name] = rounded((x - zero).mean(axis=(1, 2), keepdims=True)) + zero, scale, zero
            continue
        if node["op"] == "add":
            y = rounded(sum((x - zero) * scale for x, scale, zero in sources) / y_scale)
        else:
            w, b, s = (arrays[f"{name}.{key}"].astype(np.float64) for key in ("weight", "bias", "weight_scale"))
            top, left = node["padding"]
            padded = np.pad(x - zero, ((0, 0), (top, top), (left, left)))  # the padding's code is the zero point
            windows = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], axis=(1, 2))
            windows = windows[:, :: node["stride"] or 1, :: node["stride"] or 1]
            if node["groups"] == 1:
                acc = np.tensordot(w, windows, ([1, 2, 3], [0, 3, 4]))
            else:
                acc = np.einsum("cyxhw,chw->cyx", windows, w[:, 0])
            y = rounded((acc + b[:, None, None]) * (scale * s / y_scale)[:, None, None])
        values[name] = np.clip(y + y_zero, -128, 127), y_scale, y_zero
    return values


def pictures():
    """A real photograph and noise, as input codes int8[2, 3, 128, 128]."""
    with np.load(FOLDER / "cifar10" / "test.npz") as archive:
        photograph = np.cumsum(archive["dx"][7], axis=-1, dtype=np.uint8)
    enlarged = photograph.repeat(4, axis=1).repeat(4, axis=2)
    noise = np.random.default_rng(0).integers(-128, 128, enlarged.shape)
    return np.stack([(enlarged.astype(int) - 128), noise]).astype(np.int8)


@real
@pytest.mark.parametrize("name", NETWORKS)
def test_pixel_exact(name):
    stem, x = FOLDER / "tinyml" / name, pictures()
    graph = load_tinyml(stem)
    program, constants = lower(graph)
    assert len(program.layers) == NETWORKS[name] + 1
    outputs = Engine(program, constants).infer(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    for row, codes in enumerate(x):
        expected, found = formula(stem, codes), interp.evaluate(graph, codes[None])
        for value, got in found.items():
            assert not (got[0].ravel() != expected[value][0].ravel()).any(), value
        assert not (outputs[row] != expected["classifier"][0].ravel()).any()
    assert len(np.unique(outputs)) > 50


@real
@pytest.mark.parametrize("name", NETWORKS)
def test_a_new_head_is_empty_and_raw(name):
    stem = FOLDER / "tinyml" / name
    graph, published = load_tinyml(f"{stem}.npz", 10), load_tinyml(f"{stem}.json")
    head, old = graph.nodes[-1], published.nodes[-1]
    assert head.attrs["output_bits"] == 32
    assert not head.params["weight"].any()
    assert not head.params["bias"].any()
    assert head.params["weight"].shape == (10, old.params["weight"].shape[1])
    assert (head.params["weight_scale"] == np.float32(np.median(old.params["weight_scale"]))).all()
    program, constants = lower(graph)
    x = np.zeros((1, 128, 128, 3), np.int8)
    assert Engine(program, constants).infer(x).tolist() == [[0] * 10]


def conv(name, source, c_in, c_out, **changes):
    scales = {"in_scale": 0.1, "in_zero": 2, "out_scale": 0.1, "out_zero": 2}
    return {"name": name, "op": "conv2d", "inputs": [source], "in_channels": c_in, "out_channels": c_out, "groups": 1,
            "kernel": [1, 1], "stride": 1, "padding": [0, 0], **scales, **changes}  # fmt: skip


@pytest.fixture
def network(tmp_path):
    """A network of three layers and its arrays, in memory; `write` makes the files of them."""
    nodes = [
        conv("stem", "input", 2, 4),
        conv("deep", "stem", 4, 4),
        {"name": "sum", "op": "add", "inputs": ["stem", "deep"], "out_scale": 0.1, "out_zero": 2},
        {"name": "gap", "op": "mean_hw", "inputs": ["sum"]},
        conv("classifier", "gap", 4, 3, stride=None),
    ]
    arrays, rng = {}, np.random.default_rng(1)
    for node in nodes:
        if node["op"] == "conv2d":
            shape = node["out_channels"], node["in_channels"], 1, 1
            arrays[f"{node['name']}.weight"] = rng.integers(-127, 128, shape).astype(np.int8)
            arrays[f"{node['name']}.bias"] = rng.integers(-99, 99, shape[0]).astype(np.int32)
            arrays[f"{node['name']}.weight_scale"] = np.full(shape[0], 0.0078125)
    return {"name": "small", "input_shape": [1, 2, 5, 6], "nodes": nodes}, arrays


def load(folder, description, arrays, classes=None):
    (folder / "small-w0.5.json").write_text(json.dumps(description))
    np.savez(folder / "small-w0.5.npz", **arrays)
    return load_tinyml(folder / "small-w0.5", classes)


def test_a_small_network(tmp_path, network):
    graph = load(tmp_path, *network)
    assert [node.op for node in graph.nodes] == ["conv2d", "conv2d", "add", "mean", "linear"]
    lower(graph)
    assert load(tmp_path, *network, classes=7).values["classifier"].shape == (7,)
    with pytest.raises(ModelError, match="classes: expected at least 1, got 0"):
        load(tmp_path, *network, classes=0)


def test_a_bias_beyond_the_limit_moves_to_the_scale(tmp_path, network):
    description, arrays = network
    arrays["deep.weight_scale"][1] = 2.0**-28
    arrays["deep.bias"][1] = -(2**31)
    graph = load(tmp_path, description, arrays)
    params = graph.nodes[1].params
    assert (params["bias"][1], params["weight_scale"][1]) == (-(2**29), 2.0**-26)
    assert (params["bias"][[0, 2, 3]] == arrays["deep.bias"][[0, 2, 3]]).all()
    arrays["deep.weight_scale"][1] = 101 * 2.0**-32  # -50.5 steps: any input tips the rounding
    with pytest.raises(DataError, match=r"node 1 'deep': channel 1: expected \|bias\| of at most 1073741823"):
        load(tmp_path, description, arrays)


@pytest.mark.parametrize(
    ("at", "changes", "message"),
    [
        (1, {"op": "relu"}, "node 1 'deep': expected an op of conv2d, add, mean_hw, got 'relu'"),
        (1, {"op": ["add"]}, "node 1 'deep': expected an op"),
        (1, {"inputs": ["sum"]}, "node 1 'deep': expected inputs that stand before it"),
        (2, {"inputs": ["stem"]}, "node 2 'sum': expected a name and 2 input"),
        (1, {"name": "stem"}, "array 'stem.weight'|new name"),
        (1, {"in_scale": 0.2}, "node 1 'deep': expected input 'stem' with"),
        (1, {"out_scale": 0}, "node 1 'deep': expected out_scale > 0"),
        (1, {"out_zero": 128}, "node 1 'deep': expected out_scale > 0"),
        (1, {"kernel": [1]}, "node 1 'deep': expected channels, groups, kernel"),
        (1, {"padding": [-1, 0]}, "node 1 'deep': expected channels, groups, kernel"),
        (1, {"groups": 3}, "node 1 'deep': expected channels, groups, kernel"),
        (1, {"stride": 0}, "node 1 'deep': expected a positive integer as stride"),
        (1, {"out_channels": 5}, r"array 'deep.weight': expected int8 \[5, 4, 1, 1\], got int8 \[4, 4, 1, 1\]"),
    ],
)
def test_malformed_nodes_are_named(tmp_path, network, at, changes, message):
    description, arrays = network
    description["nodes"][at] |= changes
    with pytest.raises((ModelError, DataError), match=message) as caught:
        load(tmp_path, description, arrays)
    assert "\n" not in str(caught.value)


def test_wrong_arrays_are_named(tmp_path, network):
    description, arrays = network
    whole = dict(arrays)
    for key, array, message in (
        ("deep.bias", None, "expected an array 'deep.bias'"),
        ("deep.bias", whole["deep.bias"].astype(np.int64), r"array 'deep.bias': expected int32 \[4\], got int64"),
        ("deep.weight", whole["deep.weight"][:3], r"array 'deep.weight': expected int8 \[4, 4, 1, 1\]"),
        ("deep.weight_scale", np.full(4, 0.1), "expected values that float32 holds exactly"),
        ("deep.weight_scale", np.full(4, -0.5), "expected 4 positive scales"),
        ("deep.weight", np.full_like(whole["deep.weight"], -128), "8-bit weights: expected -127 to 127"),
    ):
        changed = {k: v for k, v in {**whole, key: array}.items() if v is not None}
        with pytest.raises((ModelError, DataError), match=message):
            load(tmp_path, description, changed)


def test_files_that_are_something_else(tmp_path, network):
    description, arrays = network
    load(tmp_path, description, arrays)
    with pytest.raises(DataError, match=r"none\.json: expected a readable file"):
        load_tinyml(tmp_path / "none")
    (tmp_path / "small-w0.5.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"npz: expected an npz file"):
        load_tinyml(tmp_path / "small-w0.5")
    (tmp_path / "small-w0.5.npz").unlink()
    with pytest.raises(DataError, match=r"npz: expected an npz file, got nothing"):
        load_tinyml(tmp_path / "small-w0.5")
    for text, message in (
        ("{", "expected JSON"),
        ("[]", "expected a list of nodes"),
        ('{"nodes": []}', "list of nodes"),
        ('{"nodes": [{}], "input_shape": [1, 3]}', "expected 'input_shape'"),
    ):
        (tmp_path / "small-w0.5.json").write_text(text)
        with pytest.raises(DataError, match=message):
            load_tinyml(tmp_path / "small-w0.5")
