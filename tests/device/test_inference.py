"""Firmware that infers gives the engine's outputs bit for bit, on every board and at every optimization level."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from emulator import EMULATED, ENCODE, INFER, Stream, need_tools, run
from torch import nn

import binary_networks
from artifacts import make_artifact
from calibrant.artifact import Artifact
from calibrant.core.errors import DataError
from calibrant.core.rng import generator
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.export import export
from calibrant.pipeline import torch_model
from networks import NETWORKS, network

PAIRS = tuple(zip(NETWORKS, EMULATED * 3, strict=False))  # every network, the boards in turns


def prepared(name: str) -> Artifact:
    """A network of `networks`, quantized; standardization and zero points are not trivial."""
    model, sample = network(name)
    rng = generator(0, name)
    x = rng.normal(0.5, 1.5, (24, *NETWORKS[name][1])).astype(np.float32)
    y = np.arange(24, dtype=np.int64) % model.eval()(sample).shape[1]
    return torch_model.prepare(model, x, y, bits=4, coreset=6, epochs=0, standardize=True).artifact


def samples(artifact: Artifact, count: int) -> np.ndarray:
    """Values around and far outside what was seen in training."""
    x = generator(1, "samples").normal(0, 2, (count, *artifact.input_shape)).astype(np.float32)
    x[-1] *= 1e6
    return x


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def check_outputs(artifact: Artifact, folder: Path, *arguments: str) -> None:
    """A firmware's codes, classes and raw outputs are those of the engine."""
    program, x = artifact.program, samples(artifact, 6)
    codes = encode(x, program.tensors[program.input], artifact.preprocess, artifact.input_shape)
    stream = Stream().add(ENCODE, len(x), channels_last(x)).add(INFER, len(x), codes)
    results = run(folder, stream, *arguments)
    outputs = Engine(program, artifact.constants, "ref").infer(codes)
    assert np.array_equal(results.take("i1", *codes.shape), codes)
    rows = results.take("<i4", len(x), 1 + outputs.shape[1])
    assert np.array_equal(rows[:, 1:], outputs)
    assert np.array_equal(rows[:, 0], outputs.argmax(axis=1))
    assert results.rest == 0
    assert len(np.unique(outputs)) > len(x)


@pytest.mark.parametrize(("name", "board"), PAIRS)
def test_networks(name: str, board: str, tmp_path: Path) -> None:
    need_tools()
    artifact = prepared(name)
    report = export(artifact, board, "256KB", "none", tmp_path / "firmware", build=True)
    assert report.ram_bytes - report.stack_bytes < artifact.program.arena_bytes  # no scratch
    check_outputs(artifact, tmp_path / "firmware")


@pytest.mark.parametrize("board", [*EMULATED, "generic"])
@pytest.mark.parametrize(("model", "shape"), [(binary_networks.series, (3, 24)), (binary_networks.image, (2, 7, 6))])
def test_binary_networks(model: Callable[[], nn.Module], shape: tuple[int, ...], board: str, tmp_path: Path) -> None:
    if board != "generic":
        need_tools()
    x = generator(0, "binary").normal(0, 1, (24, *shape)).astype(np.float32)
    made = torch_model.prepare(model(), x, np.arange(24) % 3, bits=8, coreset=6, epochs=0, standardize=True)
    report = export(made.artifact, board, "256KB", "none", tmp_path / "firmware", build=True)
    layers = made.artifact.program.layers
    rows = {block.symbol: block.nbytes for block in report.blocks}
    assert rows["calibrant_weights"] == sum(layer.weight_count for layer in layers if not layer.binary)
    assert rows["calibrant_signs"] < sum(layer.weight_count for layer in layers if layer.binary)
    check_outputs(made.artifact, tmp_path / "firmware")
    for updater in ("flip", "affine"):
        with pytest.raises(
            DataError, match=f"expected weights of 2 bits or more for --updater {updater}, got a binary"
        ):
            export(made.artifact, board, "256KB", updater, tmp_path / "other")


@pytest.mark.parametrize("board", EMULATED)
def test_optimization_levels(board: str, tmp_path: Path) -> None:
    need_tools()
    artifact = make_artifact()
    export(artifact, board, "64KB", "none", tmp_path / "firmware")
    for level in ("-O0", "-O2", "-Os"):
        check_outputs(artifact, tmp_path / "firmware", f"OPT={level}", f"BUILD=build{level}")


@pytest.mark.parametrize("name", ["cnn", "inverted"])
def test_generic(name: str, tmp_path: Path) -> None:
    artifact = prepared(name)
    report = export(artifact, "generic", "256KB", "none", tmp_path / "firmware", build=True)
    assert report.code_bytes
    check_outputs(artifact, tmp_path / "firmware")
