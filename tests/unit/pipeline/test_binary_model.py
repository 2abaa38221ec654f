"""A network with binary layers goes the whole way: prepared, written, read, inspected, adapted on the device."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import binary_networks
from calibrant import Session, load, prepare, write
from calibrant.artifact.write import to_bytes
from calibrant.cli import app
from calibrant.core.errors import ManifestError, ModelError
from calibrant.core.logits import logits
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.graph import interp
from calibrant.pipeline.torch_model import Prepared
from calibrant.quantize import to_integer
from calibrant.updaters import defaults
from sessions import opened

FORMS = ("accumulated", "pooled", "taps", "blocks")


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    x, y = binary_networks.windows(240)
    torch.manual_seed(0)
    model = binary_networks.learnable()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(12):
        for rows in torch.randperm(len(x)).split(48):
            optimizer.zero_grad()
            scores = model(torch.from_numpy(x)[rows])
            torch.nn.functional.cross_entropy(scores, torch.from_numpy(y)[rows]).backward()
            optimizer.step()
    return prepare(
        model.eval(), x, y, bits=8, epochs=1, standardize=False, validation=binary_networks.windows(200, seed=1)
    )


@pytest.fixture(scope="module")
def path(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("binary") / "binary.cal"
    write(target, prepared.artifact)
    return target


def test_it_learns(prepared: Prepared):
    assert prepared.report["accuracy_float"] > 0.9
    assert prepared.report["accuracy_quantized"] > 0.9


def test_the_file_holds_one_bit_a_weight(prepared: Prepared, path: Path):
    held = load(path)
    assert [layer.bits for layer in held.program.layers] == [8, 1, 1, 1, 8]
    assert held.program == prepared.artifact.program
    assert np.array_equal(held.constants.weights, prepared.artifact.constants.weights)
    sizes = [layer.weight_count * layer.bits // 8 for layer in held.program.layers]
    assert prepared.report["weight_bytes"] == sum(sizes)


def test_sessions_engines_and_numpy_agree(prepared: Prepared, path: Path):
    x, y = binary_networks.windows(200, seed=1)
    artifact = prepared.artifact
    codes = encode(x, artifact.program.tensors[0], artifact.preprocess, artifact.input_shape)
    outputs = interp.run(to_integer(prepared.net), np.ascontiguousarray(codes.transpose(0, 3, 1, 2)))
    assert np.array_equal(Engine(artifact.program, artifact.constants).infer(codes), outputs)
    scores = logits(outputs, artifact.program, artifact.constants)
    with Session.open(path) as session:
        assert np.array_equal(session.scores(x), scores)
        assert np.array_equal(session.predict(x), scores.argmax(axis=1))
        assert (session.predict(x) == y).mean() > 0.9


@pytest.mark.parametrize("form", FORMS)
def test_learning_leaves_binary_layers_as_they_are(form: str, path: Path, tmp_path: Path):
    artifact = load(path)
    artifact = replace(artifact, settings=defaults(form, artifact.settings.rate))
    write(tmp_path / "own.cal", artifact)
    x, y = binary_networks.windows(160, seed=2, gain=1.4, offset=0.6)
    with opened(tmp_path / "own.cal", tmp_path / "s.db", gate=False) as (session, parts):
        report = session.observe(x, y)
        assert (report.decision, report.flips > 0) == ("committed", True)
        assert report.loss_after < report.loss_before
        now = parts.engine.parameters
    for layer in artifact.program.layers:
        before = artifact.constants.weights[layer.weight_slice], artifact.constants.bias[layer.channel_slice]
        after = now.weights[layer.weight_slice], now.bias[layer.channel_slice]
        if layer.binary:
            assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True)), layer.name
    assert not np.array_equal(now.weights, artifact.constants.weights)


def test_windows_without_labels_leave_them_too(path: Path, tmp_path: Path):
    artifact = load(path)
    binary_channels = np.concatenate([np.arange(100_000)[n.channel_slice] for n in artifact.program.layers if n.binary])
    with opened(path, tmp_path / "s.db", gate=False) as (session, parts):
        for seed in range(3):
            session.observe(binary_networks.windows(120, seed=10 + seed, gain=1.3, offset=0.4)[0])
        now = parts.engine.parameters
    for name in ("bias", "multiplier", "shift"):
        own = getattr(artifact.constants, name)
        assert np.array_equal(now[name][binary_channels], own[binary_channels]), name


def test_a_training_step_is_refused():
    x, y = binary_networks.windows(30)
    with pytest.raises(ModelError, match=r"'2\.sign': expected codes, got signs, which no training step passes"):
        prepare(binary_networks.learnable().eval(), x, y, bits=8, epochs=0, coreset=6, form="sparse")


def test_inspect_says_what_runs_each_layer_and_why(path: Path):
    facts = json.loads(CliRunner().invoke(app, ["inspect", str(path), "--json"]).stdout)
    assert [layer["kernel"] for layer in facts["layers"]] == ["conv2d", *["binary_conv2d"] * 3, "conv2d"]
    assert [layer["why"] for layer in facts["layers"]] == [
        "reads the input",
        "gives signs",
        "gives codes, for sign and add",
        "gives codes, for add",
        "gives the scores",
    ]
    shown = CliRunner().invoke(app, ["inspect", str(path)], env={"COLUMNS": "160"}).stdout
    assert "binary_conv2d" in shown
    assert "gives the scores" in shown


def test_a_weight_of_0_is_not_written(prepared: Prepared):
    weights = prepared.artifact.constants.weights.copy()
    weights[prepared.artifact.program.layers[1].weight_offset] = 0
    broken = replace(prepared.artifact, constants=replace(prepared.artifact.constants, weights=weights))
    with pytest.raises(ManifestError, match="expected codes -1 to 1"):
        to_bytes(broken)
