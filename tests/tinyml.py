"""A published int8 network in small: its two files, with made-up weights, and pictures to train it on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pictures import write_pictures

SIZE, BACKBONE = 16, 7
RELU6 = {"out_scale": 6 / 255, "out_zero": -128}
LINEAR = {"out_scale": 0.05, "out_zero": 3}


def write_network(
    folder: Path, name: str = "mcunet-5fps", channels: int = 3, side: int = SIZE, stride: int = 2, width: int = 24
) -> None:
    """Write NAME.npz and NAME.json: a stem of this stride, two inverted bottlenecks, the second of this width and with
    a shortcut, and a classifier of 20 classes."""
    nodes = [
        _conv("stem", "input", (channels, 8), RELU6, kernel=3, stride=stride),
        _conv("a1", "stem", (8, 16), RELU6),
        _conv("a2", "a1", (16, 16), RELU6, kernel=3, stride=2, groups=16),
        _conv("a3", "a2", (16, 8), LINEAR),
        _conv("b1", "a3", (8, width), RELU6),
        _conv("b2", "b1", (width, width), RELU6, kernel=3, groups=width),
        _conv("b3", "b2", (width, 8), LINEAR),
        {"name": "sum", "op": "add", "inputs": ["a3", "b3"], **LINEAR},
        {"name": "gap", "op": "mean_hw", "inputs": ["sum"]},
        _conv("classifier", "gap", (8, 20), LINEAR, stride=None),
    ]
    scales: dict[str, dict[str, Any]] = {"input": {"out_scale": 2 / 255, "out_zero": 0}}
    arrays, rng = {}, np.random.default_rng(0)
    for node in nodes:
        source = scales[node["inputs"][0]]
        scales[node["name"]] = node if "out_scale" in node else source
        if node["op"] != "conv2d":
            continue
        node |= {"in_scale": source["out_scale"], "in_zero": source["out_zero"]}
        shape = node["out_channels"], node["in_channels"] // node["groups"], *node["kernel"]
        weight = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        scale = (np.abs(weight).max(axis=(1, 2, 3)) / 127).astype(np.float32)
        arrays[f"{node['name']}.weight"] = np.rint(weight / scale[:, None, None, None]).astype(np.int8)
        arrays[f"{node['name']}.bias"] = rng.integers(-50, 300, shape[0]).astype(np.int32)
        arrays[f"{node['name']}.weight_scale"] = scale.astype(np.float64)
    about = {"name": name, "input_shape": [1, channels, side, side], "nodes": nodes}
    (folder / f"{name}.json").write_text(json.dumps(about), encoding="utf-8")
    np.savez(folder / f"{name}.npz", **arrays)


def write_folder(root: Path) -> Path:
    """A data folder with that network, and 40 pictures of every class to train on and 10 to judge."""
    (root / "tinyml").mkdir()
    (root / "cifar10").mkdir()
    write_network(root / "tinyml")
    for name, per_class in (("train", 40), ("test", 10)):
        pixels = _colored(per_class)
        differences = np.diff(pixels, axis=-1, prepend=np.zeros((*pixels.shape[:3], 1), np.uint8))
        write_pictures(root / "cifar10" / f"{name}.npz", per_class, dx=differences)
    return root


def _colored(per_class: int) -> NDArray[np.uint8]:
    """Pictures whose color tells the class, which a mean over positions leaves."""
    colors = np.random.default_rng(1).integers(0, 200, (10, 3, 1, 1))
    noise = np.random.default_rng(per_class).integers(0, 56, (10 * per_class, 3, 32, 32))
    return (np.tile(colors, (per_class, 1, 1, 1)) + noise).astype(np.uint8)


def _conv(
    name: str,
    source: str,
    channels: tuple[int, int],
    output: dict[str, Any],
    kernel: int = 1,
    stride: int | None = 1,
    groups: int = 1,
) -> dict[str, Any]:
    place = {"name": name, "op": "conv2d", "inputs": [source], "in_channels": channels[0], "out_channels": channels[1]}
    return {**place, "kernel": [kernel] * 2, "stride": stride, "padding": [kernel // 2] * 2, "groups": groups, **output}
