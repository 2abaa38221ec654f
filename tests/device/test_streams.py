"""Whole streams through real networks on emulated boards. Minutes: only where CALIBRANT_DEVICE_STREAMS says so."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from emulator import Stream, need_tools, run
from test_flip_firmware import REPORT, learn, parameters
from test_flip_firmware import codes_of as encoded
from test_sparse_firmware import COMMITTED, LESSON, OBSERVED, observing
from test_sparse_firmware import parameters as trained

from calibrant import data, zoo
from calibrant.artifact import write
from calibrant.core.statistics import Preprocess
from calibrant.data.task import codes, load_task, subset
from calibrant.engine import Engine, Trainer
from calibrant.export import ExportOptions, export
from calibrant.export.sparse import Storage
from calibrant.pipeline import float_training, torch_model
from calibrant.pipeline.integer_model import prepare_integer
from calibrant.updaters.guarded_flips import GuardedFlips
from sessions import opened

IMAGES, RATE = 100, 0.003
RAM, ARENA = 230_764, 180_224  # bytes: what the published implementation takes for the same scheme
TIGHT = 144_000  # bytes: in stripes, gradients in place
MINUTES = 8 * 60


@pytest.fixture(scope="module")
def folder() -> Path:
    need_tools()
    if os.environ.get("CALIBRANT_DEVICE_STREAMS") != "1":
        pytest.skip("takes minutes: `make test-device` runs it, or CALIBRANT_DEVICE_STREAMS=1")
    if not os.environ.get("CALIBRANT_DATA"):
        pytest.skip("needs data sets: set CALIBRANT_DATA to their folder")
    return Path(os.environ["CALIBRANT_DATA"])


@pytest.mark.parametrize("ram", [RAM, TIGHT])
def test_mcunet_trains_under_256_kilobytes(ram: int, folder: Path, tmp_path: Path) -> None:
    """MCUNet under its 49 KB scheme learns from 100 photographs: losses, outputs and parameters are the trainer's."""
    task = load_task("cifar10", folder)
    rows = subset(task.y, IMAGES, 0, "training")
    half = np.full(3, 0.5, np.float32)
    graph = zoo.load_tinyml(folder / "tinyml" / "mcunet-5fps", classes=10)
    shown = np.ascontiguousarray(codes(task.x[rows], 128).astype(np.float32).transpose(0, 3, 1, 2)) / 255 + 0.5
    artifact = prepare_integer(
        graph, shown, task.y[rows], preprocess=Preprocess(half, half), scheme="mcunet-5fps:49KB", coreset=10
    )
    report = export(artifact, "mps3-an547", ram, "sparse", tmp_path / "firmware", build=True)
    assert report.total("arena") <= ARENA
    assert report.ram_bytes <= ram
    x, y = encoded(artifact, shown), task.y[rows]
    stream = observing(Stream().add(8, 1, np.array([RATE, RATE], np.float32)), x, y).add(6, 1).add(4, 1)
    results = run(tmp_path / "firmware", stream, seconds=MINUTES)
    engine = Engine(artifact.program, artifact.constants)
    trainer = Trainer(engine, artifact.training, accumulators=False)
    before = trainer.loss(x, y).mean()
    losses = np.concatenate([trainer.step(x[i : i + 1], y[i : i + 1], RATE) for i in range(IMAGES)])
    seen = results.take(OBSERVED, IMAGES)
    assert np.array_equal(seen["loss"], losses)
    assert losses[-IMAGES // 4 :].mean() < losses[: IMAGES // 4].mean()
    assert trainer.loss(x, y).mean() < before
    storage, layers = Storage.of(artifact.training, artifact.program), artifact.program.layers
    weights, bias = trained(results, artifact)
    assert np.array_equal(
        weights, np.concatenate([engine.parameters.weights[layers[i].weight_slice] for i in storage.weights])
    )
    assert np.array_equal(
        bias, np.concatenate([engine.parameters.bias[layers[i].channel_slice] for i in storage.biases])
    )
    assert results.take(LESSON, 1)[0]["decision"] == COMMITTED


def test_activities_adapt(folder: Path, tmp_path: Path) -> None:
    """The network of the activity benchmark at 4 bits moves to another wearer: every prediction is the session's."""
    source, target = (data.load("dsa", folder, subject) for subject in (1, 2))
    scale = Preprocess.of(source.x)
    short = float_training.TrainingSettings(epochs=6)
    net = float_training.train(zoo.build("cnn", 45, (125,), 19, 0), scale.apply(source.x), source.y, short)
    settings = {"bits": 4, "coreset": 19, "form": "pooled", "steps": 8, "epochs": 1, "classes": source.classes}
    artifact = torch_model.prepare(net, source.x, source.y, standardize=True, **settings).artifact
    windows = data.windows(target.x, target.y, count=4, size=20)
    report = export(
        artifact, "mps2-an386", "1MB", "flip", tmp_path / "firmware", options=ExportOptions(window=20), build=True
    )
    stream = Stream()
    for x, y in windows:
        learn(stream, artifact, x, y)
    results = run(tmp_path / "firmware", stream, seconds=MINUTES)
    write(tmp_path / "model.cal", artifact)
    updater = GuardedFlips(artifact.meaning, artifact.feedback, artifact.settings)
    right = flips = 0
    guarded = opened(tmp_path / "model.cal", updater=updater, gate=False, upkeep=False, unlabeled=False)
    with guarded as (session, parts):
        for x, y in windows:
            predicted = session.predict(x)
            assert np.array_equal(results.take("<i4", len(x), 20)[:, 0], predicted)
            assert not results.take("<i4", len(x)).any()
            expected, got = session.observe(x, y), results.take(REPORT, 1)[0]
            assert (got["version"], got["flips"]) == (expected.version, expected.flips)
            weights, bias = parameters(results, artifact)
            assert np.array_equal(weights, parts.engine.parameters.weights)
            assert np.array_equal(bias, parts.engine.parameters.bias)
            right += int((predicted == y).sum())
            flips += expected.flips
    assert results.rest == 0
    assert flips > 0
    assert right > 0.2 * sum(len(y) for _, y in windows)
    assert report.window == 20
