"""Firmware that trains gives what the engine's trainer gives on Linux: losses, outputs and parameters, bit for bit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from emulator import EMULATED, INFER, Results, Stream, need_tools, run
from torch import nn

from artifacts import make_sparse_artifact, make_window
from calibrant.artifact import Artifact
from calibrant.core.rng import generator
from calibrant.core.statistics import Coreset
from calibrant.core.window import encode
from calibrant.engine import Engine, Trainer
from calibrant.export import ExportOptions, export
from calibrant.export.sparse import Storage
from calibrant.pipeline import torch_model
from networks import NETWORKS, network

OBSERVE, CALIBRATE, ROLLBACK, PARAMETERS, START, RATE = range(3, 9)
OK, INVALID, OLDEST = 0, 1, 4
SKIPPED, REJECTED, COMMITTED = range(3)
OBSERVED = np.dtype([("status", "<i4"), ("class", "<i4"), ("loss", "<f4")])
LESSON = np.dtype([(name, "<i4") for name in ("status", "decision", "reason", "version", "samples", "before", "after")])
PAIRS = tuple(zip(NETWORKS, EMULATED * 3, strict=False))
RATES = np.array([0.02, 0.005], np.float32)


def prepared(name: str, scheme: str) -> Artifact:
    """A network of `networks` with a training step; nothing it learns is rejected."""
    model, sample = network(name)
    return teachable(model, sample, name, scheme)


def teachable(model: nn.Module, sample: torch.Tensor, name: str, scheme: str) -> Artifact:
    rng = generator(0, name)
    x = rng.normal(0.5, 1.5, (24, *sample.shape[1:])).astype(np.float32)
    y = np.arange(24, dtype=np.int64) % model.eval()(sample).shape[1]
    made = torch_model.prepare(model, x, y, bits=8, coreset=6, epochs=0, form="sparse", scheme=scheme).artifact
    return replace(made, thresholds={**made.thresholds, "coreset_drop": 1.0})


def labeled(artifact: Artifact, count: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(seed, "labeled")
    x = rng.normal(0.5, 1.5, (count, *artifact.input_shape)).astype(np.float32)
    return codes_of(artifact, x), rng.integers(0, len(artifact.classes), count).astype(np.int64)


def codes_of(artifact: Artifact, x: np.ndarray) -> np.ndarray:
    return encode(x, artifact.program.tensors[artifact.program.input], artifact.preprocess, artifact.input_shape)


def observing(stream: Stream, codes: np.ndarray, y: np.ndarray) -> Stream:
    rows = [part for label, sample in zip(y, codes, strict=True) for part in (np.int32(label), sample)]
    return stream.add(OBSERVE, len(y), *rows)


def parameters(results: Results, artifact: Artifact) -> tuple[np.ndarray, np.ndarray]:
    storage = Storage.of(artifact.training, artifact.program)
    return results.take("i1", storage.weight_count), results.take("<i4", storage.bias_count)


def held(artifact: Artifact, weights: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parameters of trained layers, as firmware stores them."""
    storage, layers = Storage.of(artifact.training, artifact.program), artifact.program.layers
    trained = [weights[:0], *(weights[layers[i].weight_slice] for i in storage.weights)]
    moved = [bias[:0], *(bias[layers[i].channel_slice] for i in storage.biases)]
    return np.concatenate(trained), np.concatenate(moved)


def check_against_trainer(artifact: Artifact, folder: Path, batch: int, *arguments: str) -> None:
    """Two windows: predictions, losses and parameters; what rounding left over is forgotten between windows."""
    engine = Engine(artifact.program, artifact.constants, "ref")
    trainer = Trainer(engine, artifact.training, accumulators=batch > 1)
    windows = [labeled(artifact, 4 * batch if batch > 1 else 10, seed) for seed in (3, 4)]
    stream = Stream().add(RATE, 1, RATES)
    for codes, y in windows:
        observing(stream, codes, y).add(PARAMETERS, 1).add(CALIBRATE, 1).add(INFER, len(codes), codes)
    results = run(folder, stream, *arguments)
    moved = 0
    for number, (codes, y) in enumerate(windows, start=1):
        seen = results.take(OBSERVED, len(y))
        assert (seen["status"] == OK).all()
        for first in range(0, len(y), batch):
            rows = slice(first, first + batch)
            scores = engine.infer(codes[rows])
            losses = trainer.step(codes[rows], y[rows], *map(float, RATES))
            assert np.array_equal(seen["loss"][rows], losses)
            if artifact.program.tensors[artifact.program.output].bits == 32:
                assert np.array_equal(seen["class"][rows], scaled(artifact, scores).argmax(axis=1))
        before = held(artifact, artifact.constants.weights, artifact.constants.bias)
        expected = held(artifact, engine.parameters.weights, engine.parameters.bias)
        for got, want, old in zip(parameters(results, artifact), expected, before, strict=True):
            assert np.array_equal(got, want)
            moved += np.count_nonzero(want != old)
        attempt = results.take(LESSON, 1)[0]
        assert (attempt["decision"], attempt["version"], attempt["samples"]) == (COMMITTED, number, len(y))
        coreset = scaled(artifact, engine.infer(artifact.coreset.x)).argmax(axis=1)
        assert attempt["after"] == np.count_nonzero(coreset == artifact.coreset.y)
        rows = results.take("<i4", len(codes), 1 + len(artifact.classes))
        assert np.array_equal(rows[:, 1:], engine.infer(codes))
        if batch > 1:
            trainer.accumulators = np.zeros(artifact.training.accumulator_count, np.float32)
    assert results.rest == 0
    assert moved > 0


def scaled(artifact: Artifact, outputs: np.ndarray) -> np.ndarray:
    return outputs.astype(np.float32) * artifact.training.head_scale


@pytest.mark.parametrize(("name", "board"), PAIRS)
def test_networks(name: str, board: str, tmp_path: Path) -> None:
    need_tools()
    artifact = prepared(name, "full")
    export(artifact, board, "256KB", "sparse", tmp_path / "firmware", build=True)
    check_against_trainer(artifact, tmp_path / "firmware", 1)


@pytest.mark.parametrize("board", EMULATED)
@pytest.mark.parametrize("scheme", ["last-1", "bias", "classifier"])
def test_schemes_and_optimization_levels(board: str, scheme: str, tmp_path: Path) -> None:
    need_tools()
    artifact = prepared("inverted", scheme)
    export(artifact, board, "256KB", "sparse", tmp_path / "firmware")
    level = {"last-1": "-O0", "bias": "-Os", "classifier": "-O3"}[scheme]
    check_against_trainer(artifact, tmp_path / "firmware", 1, f"OPT={level}", "BUILD=build-level")


@pytest.mark.parametrize("board", ["mps3-an547", "generic"])
def test_batches(board: str, tmp_path: Path) -> None:
    if board != "generic":
        need_tools()
    artifact = prepared("residual", "full")
    report = export(
        artifact, board, "256KB", "sparse", tmp_path / "firmware", options=ExportOptions(batch=4), build=True
    )
    assert report.total("workspace") >= 4 * artifact.training.accumulator_count
    check_against_trainer(artifact, tmp_path / "firmware", 4)


def test_stripes_where_nothing_else_fits(tmp_path: Path) -> None:
    """The part that no gradient reaches runs in stripes, and gives the same bits."""
    need_tools()
    artifact = prepared("residual", "classifier")
    wide = export(artifact, "mps2-an386", "256KB", "sparse", tmp_path / "wide")
    saved = 32
    narrow = export(artifact, "mps2-an386", wide.ram_bytes - saved, "sparse", tmp_path / "firmware", build=True)
    assert narrow.total("arena") < wide.total("arena")
    assert narrow.ram_bytes <= wide.ram_bytes - saved
    check_against_trainer(artifact, tmp_path / "firmware", 1)


@pytest.mark.parametrize(("board", "batch"), [("mps2-an386", 1), ("generic", 3)])
def test_gradients_in_place_where_nothing_else_fits(board: str, batch: int, tmp_path: Path) -> None:
    """Depthwise gradients take their input's memory before anything runs in stripes, and give the same bits."""
    if board != "generic":
        need_tools()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wide, deep = nn.Conv2d(2, 21, 1), nn.Conv2d(21, 21, 3, padding=1, groups=21)
        model = nn.Sequential(wide, nn.ReLU(), deep, nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(21 * 12, 4))
    artifact = teachable(model, torch.zeros(2, 2, 8, 6), "depthwise", "bias")
    apart = export(artifact, board, "256KB", "sparse", tmp_path / "apart", options=ExportOptions(batch=batch))
    folder, positions = tmp_path / "firmware", 8 * 6
    shared = export(
        artifact, board, apart.ram_bytes - 1024, "sparse", folder, options=ExportOptions(batch=batch), build=True
    )
    assert apart.total("arena") - shared.total("arena") == 4 * positions * (21 - 8)
    texts = [(tmp_path / name / "model.c").read_text(encoding="utf-8") for name in ("apart", "firmware")]
    assert [text.count(".scratch") for text in texts] == [0, 1]
    calls = [len(re.findall(r"cal_(?:conv2d|depthwise)_s8__\w+\(&", text)) for text in texts]
    assert calls == [2 * 3] * 2  # inference and training, no stripes
    check_against_trainer(artifact, folder, batch)


def test_rejected_rollback_and_power_loss(tmp_path: Path) -> None:
    """What costs the coreset too much is undone; versions go back; a torn slot falls back to the other."""
    need_tools()
    artifact = make_sparse_artifact()
    x, y = make_window(artifact, 60)
    codes = codes_of(artifact, x)
    own = Coreset(codes[:12], y[:12])
    artifact = replace(artifact, coreset=own, thresholds={"coreset_drop": 0.1})
    folder = tmp_path / "firmware"
    export(artifact, "mps2-an500", "64KB", "sparse", folder)
    factory = held(artifact, artifact.constants.weights, artifact.constants.bias)
    stream = Stream().add(ROLLBACK, 1).add(RATE, 1, np.array([0.05, 0.05], np.float32))
    for samples, labels in ((codes, y), (own.x, own.y), (own.x, (own.y + 1) % len(artifact.classes))):
        for _ in range(4):
            observing(stream, samples, labels)
        stream.add(CALIBRATE, 1).add(PARAMETERS, 1)
    results = run(folder, stream)
    assert results.take("<i4", 2).tolist() == [OLDEST, 0]
    versions = []
    for count, decision in ((240, COMMITTED), (48, COMMITTED), (48, REJECTED)):
        results.take(OBSERVED, count)
        attempt = results.take(LESSON, 1)[0]
        assert attempt["decision"] == decision, attempt
        versions.append(parameters(results, artifact))
    assert attempt["before"] - attempt["after"] > 1
    assert_equal(versions[2], versions[1])
    in_force(folder, artifact, versions[1])
    back = run(folder, Stream().add(ROLLBACK, 2).add(PARAMETERS, 1))
    assert back.take("<i4", 4).tolist() == [OK, 3, OLDEST, 3]
    assert_equal(parameters(back, artifact), versions[0])
    in_force(folder, artifact, versions[0])
    slots = sorted(folder.glob("slot*.bin"))
    for path in slots:
        raw = path.read_bytes()
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        in_force(folder, artifact, versions[0] if path == slots[0] else factory)


def in_force(folder: Path, artifact: Artifact, expected: tuple[np.ndarray, np.ndarray]) -> None:
    assert_equal(parameters(run(folder, Stream().add(PARAMETERS, 1)), artifact), expected)


def assert_equal(got: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> None:
    for one, other in zip(got, expected, strict=True):
        assert np.array_equal(one, other)


def test_labels(tmp_path: Path) -> None:
    artifact = make_sparse_artifact()
    export(artifact, "generic", "64KB", "sparse", tmp_path / "firmware")
    codes = np.repeat(artifact.coreset.x[:1], 3, axis=0)
    results = run(tmp_path / "firmware", observing(Stream(), codes, np.array([-1, 3, 2])).add(CALIBRATE, 1))
    assert results.take(OBSERVED, 3)["status"].tolist() == [OK, INVALID, OK]
    assert results.take(LESSON, 1)[0]["samples"] == 1


def test_scheme_by_name(tmp_path: Path) -> None:
    artifact = make_sparse_artifact()
    reports = [
        export(artifact, "generic", "64KB", "sparse", tmp_path / name, options=ExportOptions(scheme=name))
        for name in ("full", "classifier")
    ]
    assert reports[0].total("mutable") > reports[1].total("mutable")
