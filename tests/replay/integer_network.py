"""A published int8 network in small, with made-up weights, in the form of its two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

RELU6, LINEAR = {"out_scale": 6 / 255, "out_zero": -128}, {"out_scale": 0.05, "out_zero": 3}


def write(folder: Path, name: str, channels: int, side: int) -> None:
    """Write NAME.npz and NAME.json: a stem, two inverted bottlenecks, the second with a shortcut, and a classifier."""
    nodes = [
        _conv("stem", "input", (channels, 8), RELU6, kernel=3),
        _conv("a1", "stem", (8, 16), RELU6),
        _conv("a2", "a1", (16, 16), RELU6, kernel=3, stride=2, groups=16),
        _conv("a3", "a2", (16, 8), LINEAR),
        _conv("b1", "a3", (8, 16), RELU6),
        _conv("b2", "b1", (16, 16), RELU6, kernel=3, groups=16),
        _conv("b3", "b2", (16, 8), LINEAR),
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
