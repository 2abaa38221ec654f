"""Calibration in C equals the session's, window by window, to the last weight, and it survives bad storage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from microcontroller import DECISIONS, PAGE, REASONS, ROOT, Device, build, codes_of, learn, small

from artifacts import make_window
from calibrant import Session
from calibrant.artifact import THRESHOLDS, Artifact, write
from calibrant.core.fmath import LOSS_ONE
from calibrant.core.reports import UpdateReport
from calibrant.core.rng import generator
from calibrant.memory.replay import ReplayBuffer, identities
from calibrant.pipeline import torch_model
from calibrant.policy.verification import split
from calibrant.session.wiring import Parts
from calibrant.updaters.block_flips import BlockFlips
from networks import network
from sessions import opened

CAPACITY = 91
WORDS = {  # a session's reasons by their beginning
    "already learned": "learned",
    "no step lowered the loss": "no step",
    "coreset accuracy fell": "coreset fell",
    "held-back loss rose": "held rose",
    "verified": "verified",
    "no labels": "no labels",
}
Window = tuple[np.ndarray, np.ndarray]


def stream(artifact: Artifact, sizes: Sequence[int] = (45, 1, 7, 91, 60)) -> list[Window]:
    """Windows of these sizes; then one of one class, one known before, one with labels missing, one without any."""
    windows = [make_window(artifact, n, seed) for seed, n in enumerate(sizes)]
    x, y = make_window(artifact, 50, seed=90)
    some = np.where(np.arange(50) % 3 == 0, -1, y)
    return [*windows, (x[y == 2], y[y == 2]), windows[0], windows[0], (x, some), (x, np.full(50, -1))]


def session(path: Path, artifact: Artifact, block: int = 0) -> AbstractContextManager[tuple[Session, Parts]]:
    write(path, artifact)
    given = artifact.meaning, artifact.feedback, artifact.settings
    updater = BlockFlips(*given, entries=block) if block else None
    return opened(path, variant="ref", updater=updater, gate=False, upkeep=False, unlabeled=False)


def compare(
    library, artifact: Artifact, windows: Sequence[Window], path: Path, rooms: Sequence[float], block: int = 0
) -> list[str]:
    """Show windows to a session and to devices with that much room for statistics; the reasons."""
    devices = [Device(library, artifact, artifact.settings, CAPACITY, room, block) for room in rooms]
    assert [device.start() for device in devices] == ["ok"] * len(devices)
    reasons = []
    with session(path, artifact, block) as (linux, parts):
        for window in windows:
            expected = linux.observe(*window)
            reasons.append(next(WORDS[word] for word in WORDS if expected.reason.startswith(word)))
            for device in devices:
                status, report = learn(device, window)
                assert status == "ok"
                assert REASONS[report.reason] == reasons[-1]
                assert device.weights.tobytes() == parts.engine.parameters.weights.tobytes()
                assert device.bias.tobytes() == parts.engine.parameters.bias.tobytes()
                check_report(report, expected, len(ReplayBuffer.of(artifact.coreset)))
    return reasons


def check_report(report, expected: UpdateReport, coreset: int) -> None:
    for name in ("version", "steps", "accepted", "flips"):
        assert getattr(report, name) == getattr(expected, name), name
    assert (DECISIONS[report.decision], report.samples) == (expected.decision, expected.labels)
    if report.samples == 0:
        return
    for measure, loss, accuracy, kept in (
        (report.before, expected.loss_before, expected.accuracy_before, expected.coreset_accuracy_before),
        (report.after, expected.loss_after, expected.accuracy_after, expected.coreset_accuracy_after),
    ):
        assert measure.loss / (report.samples + coreset) / LOSS_ONE == loss
        assert (measure.right / report.samples, measure.coreset_right / coreset) == (accuracy, kept)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_streams_equal_the_session(library, tmp_path, bits):
    artifact = small(bits)
    reasons = compare(library, artifact, stream(artifact), tmp_path / "a.cal", (0.0, 0.5, 1.0))
    assert {"verified", "no labels"} <= set(reasons)


def betrayed(artifact: Artifact, count: int = 60) -> Window:
    """A window whose held-back samples, and no others, look like the class after theirs."""
    many, kinds = make_window(artifact, 2000, seed=7)
    classes = len(artifact.classes)
    held, xs, ys = split(count, artifact.thresholds["holdout"])[1], [], []
    for label in range(classes):
        size, first = count // classes, label * (count // classes)
        good, bad = (
            (x, identities(codes_of(artifact, x), np.full(len(x), label)))
            for x in (many[kinds == label], many[kinds == (label + 1) % classes])
        )
        for rank in range(size):  # identities are uniform: the n-th of `size` lies near the n-th part of all
            source = bad if first + rank in held else good
            target = int((rank + 0.5) / size * 2**64) - 2**63
            xs.append(source[0][np.abs(source[1].astype(float) - target).argmin()])
            ys.append(label)
    x, y = np.stack(xs), np.array(ys)
    order = np.lexsort((identities(codes_of(artifact, x), y), y))
    assert (order == np.arange(count)).all()
    shuffle = generator(0, "shuffle").permutation(count)
    return x[shuffle], y[shuffle]


@pytest.mark.parametrize(
    ("bits", "block", "bias"), [(2, 5, True), (4, 1, True), (4, 7, False), (8, 12, True), (8, 999, True)]
)
def test_streams_of_blocks_equal_the_session(library, tmp_path, bits, block, bias):
    artifact = small(bits, bias=bias, fraction_max=0.3)
    reasons = compare(library, artifact, stream(artifact), tmp_path / "a.cal", (1.0,), block)
    assert {"verified", "no labels"} <= set(reasons)


@pytest.mark.parametrize("bias", [False, True])
def test_refusals_equal_the_session(library, tmp_path, bias):
    """Every reason that there is to refuse, beside commits."""
    artifact = replace(small(8 if bias else 4, bias=bias), thresholds={"coreset_drop": 0.0, "holdout": 0.15})
    windows = [make_window(artifact, 60, seed) for seed in range(4)]
    wrong = [(x, (y + 1) % 4) for x, y in windows]
    reasons = compare(library, artifact, windows + wrong, tmp_path / "strict.cal", (1.0,))
    content = replace(artifact, settings=replace(artifact.settings, loss_goal=50.0))
    reasons += compare(library, content, windows[:2], tmp_path / "content.cal", (1.0,))
    wild = small(2, bias=bias)
    wild = replace(wild, settings=replace(wild.settings, steps=1, fraction=1.0, fraction_max=1.0))
    reasons += compare(library, wild, windows, tmp_path / "wild.cal", (1.0,))
    trusting = replace(artifact, thresholds={"coreset_drop": 1.0, "holdout": 0.15})
    trusting = replace(trusting, settings=replace(trusting.settings, loss_goal=0.01))
    lies = [betrayed(artifact)] * 3
    reasons += compare(library, trusting, [*windows[:3], *lies], tmp_path / "trusting.cal", (1.0,))
    assert set(reasons) == {"learned", "no step", "coreset fell", "held rose", "verified"}


@pytest.mark.parametrize("name", ["residual", "inverted", "preactivation", "inception", "perceptron"])
def test_networks_equal_the_session(library, tmp_path, name):
    """Groups, adds, concats, pools and heads that several ops stand before."""
    net, _ = network(name)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        x = torch.randn(64, *network(name)[1].shape[1:]).numpy()
    y = net.eval()(torch.from_numpy(x)).argmax(1).numpy().astype(np.int64)
    classes = tuple(str(c) for c in range(int(net(torch.from_numpy(x)).shape[1])))
    prepared = torch_model.prepare(net, x, y, bits=4, coreset=10, epochs=1, form="pooled", steps=8, classes=classes)
    windows = [(0.7 * x[:41] + 0.4, y[:41]), (0.7 * x[41:] + 0.4, y[41:])]
    artifact = replace(prepared.artifact, thresholds={"coreset_drop": 1.0})
    reasons = compare(library, artifact, windows, tmp_path / "a.cal", (0.0, 1.0))
    reasons += compare(library, artifact, windows, tmp_path / "b.cal", (1.0,), block=9)
    assert "verified" in reasons


def test_bad_samples_and_bad_settings_are_refused(library):
    artifact = small()
    device = Device(library, artifact, artifact.settings, 3)
    device.start()
    codes = codes_of(artifact, make_window(artifact, 5)[0])
    assert device.observe(codes, [0, 4, -2, -1, 1]) == ["ok", "invalid", "invalid", "ok", "ok"]
    assert device.observe(codes[:2], [3, 3]) == ["ok", "full"]
    device.calibrator.statistics_bytes -= device.calibrator.statistics_bytes // 2
    assert device.start() == "invalid"


def memory_of_blocks(artifact: Artifact, capacity: int, block: int) -> int:
    """The formula of calibration.h."""
    entries = rows = undo = 0
    for layer in artifact.program.layers:
        depth = layer.c_in // layer.groups
        h, w = min(layer.c_out, max(1, block // depth)), min(block, depth)
        weights = h * w * layer.kernel_h * layer.kernel_w
        entries, rows, undo = (
            max(entries, h * w),
            max(rows, h),
            max(undo, weights if layer.bits == 8 else -(-weights // 8)),
        )
    held = split(capacity, {**THRESHOLDS, **artifact.thresholds}["holdout"])[1].size
    total = 10 * entries + 14 * rows + 8 + 4 * held + undo + -(-entries // 8) + -(-capacity // 8)
    return -(-total // 8) * 8


def memory_bytes(artifact: Artifact, capacity: int, statistics: int) -> int:
    """The formula of calibration.h."""
    layers, channels = artifact.program.layers, artifact.program.channel_count if artifact.settings.bias else 0
    held = split(capacity, {**THRESHOLDS, **artifact.thresholds}["holdout"])[1].size
    slopes = sum(layer.c_out * layer.c_in // layer.groups for layer in layers)
    undo = sum(layer.weight_count if layer.bits == 8 else -(-layer.weight_count // 8) for layer in layers)
    parts = (8 * channels, 4 * held, 3 * slopes + undo + -(-capacity // 8) + len(layers), statistics)
    return sum(-(-part // 8) * 8 for part in parts)


@pytest.mark.parametrize(("bits", "capacity", "bias"), [(8, 91, True), (4, 39, False), (2, 200, True)])
def test_memory_is_what_the_header_says(library, bits, capacity, bias):
    artifact = small(bits, bias=bias)
    device = Device(library, artifact, artifact.settings, capacity, statistics=0.3)
    statistics = device.calibrator.statistics_bytes
    assert len(device.memory) - PAGE == memory_bytes(artifact, capacity, statistics)
    assert len(device.workspace) - PAGE == max(1024, 8 * capacity, 4 * (capacity + 15))
    for block in (1, 7, 64):
        device = Device(library, artifact, artifact.settings, capacity, block=block)
        assert len(device.memory) - PAGE == memory_of_blocks(artifact, capacity, block)
        assert len(device.workspace) - PAGE == 8 * capacity


def test_sanitizers_find_nothing(tmp_path):
    runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=False)
    if runtime.returncode or not os.path.isabs(runtime.stdout.strip()):
        pytest.skip("no address sanitizer: gcc with libasan")
    built = build(tmp_path, "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    code = (
        "import sys; from pathlib import Path; import microcontroller as m; import test_calibration as t\n"
        "for bits, room in ((4, 0.0), (8, 1.0)):\n"
        "    artifact = m.small(bits)\n"
        "    t.compare(m.load(Path(sys.argv[1])), artifact, t.stream(artifact, (7,))[:2], Path(sys.argv[2]), (room,))"
    )
    folders = os.pathsep.join(str(ROOT / folder) for folder in ("tests/conform", "tests"))
    environment = os.environ | {
        "LD_PRELOAD": runtime.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONPATH": folders,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, built, tmp_path / "a.cal"], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
