"""Firmware that adapts by flips gives what a session gives on Linux: predictions, reports, weights, bit for bit."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from emulator import INFER, Results, Stream, need_tools, run

from artifacts import make_artifact, make_window
from calibrant.artifact import Artifact, write
from calibrant.core.settings import FlipSettings
from calibrant.core.window import encode
from calibrant.export import ExportOptions, ExportReport, export
from calibrant.session import Session
from calibrant.session.wiring import Parts
from calibrant.updaters.block_flips import BlockFlips
from calibrant.updaters.guarded_flips import GuardedFlips
from sessions import opened

OBSERVE, CALIBRATE, ROLLBACK, PARAMETERS, START = range(3, 8)
DECISIONS = ("skipped", "rejected", "committed")
FIELDS = ("status", "decision", "reason", "version", "samples", "held", "steps", "accepted", "flips")
MEASURE = [("loss", "<i8"), ("held_loss", "<i8"), ("right", "<i4"), ("coreset_right", "<i4")]
REPORT = np.dtype([*((name, "<i4") for name in FIELDS), ("before", MEASURE), ("after", MEASURE)])
OK, OLDEST = 0, 4
WINDOWS = 4


def subject(bits: int) -> Artifact:
    settings = FlipSettings(form="pooled", steps=18, loss_goal=0.02, fraction=0.02)
    return make_artifact(bits=bits, hidden=8, settings=settings)


def windows(artifact: Artifact, count: int = WINDOWS) -> list[tuple[np.ndarray, np.ndarray]]:
    """Labeled windows of several sizes, from those that hold nothing back to those that do."""
    return [make_window(artifact, n, seed=10 + i) for i, n in enumerate((44, 3, 40, 23)[:count])]


def open_session(
    artifact: Artifact, folder: Path, block: int | None = None
) -> AbstractContextManager[tuple[Session, Parts]]:
    """As firmware works: guarded flips, no gate, no upkeep of the coreset, labeled samples only."""
    write(folder / "model.cal", artifact)
    given = artifact.meaning, artifact.feedback, artifact.settings
    updater = BlockFlips(*given, entries=block) if block else GuardedFlips(*given)
    return opened(folder / "model.cal", updater=updater, gate=False, upkeep=False, unlabeled=False, variant="ref")


def codes_of(artifact: Artifact, x: np.ndarray) -> np.ndarray:
    return encode(x, artifact.program.tensors[artifact.program.input], artifact.preprocess, artifact.input_shape)


def learn(stream: Stream, artifact: Artifact, x: np.ndarray, y: np.ndarray) -> None:
    """Predict a window, then learn from it."""
    codes = codes_of(artifact, x)
    stream.add(INFER, len(x), codes)
    rows = [part for label, sample in zip(y, codes, strict=True) for part in (np.int32(label), sample)]
    stream.add(OBSERVE, len(x), *rows).add(CALIBRATE, 1).add(PARAMETERS, 1)


def parameters(results: Results, artifact: Artifact) -> tuple[np.ndarray, np.ndarray]:
    program = artifact.program
    return results.take("i1", program.weight_count), results.take("<i4", program.channel_count)


@pytest.mark.parametrize(("board", "bits", "level"), [
    ("mps2-an386", 4, "-O2"), ("mps2-an386", 8, "-O0"), ("mps2-an500", 4, "-Os"), ("mps2-an500", 2, "-O2"),
    ("mps3-an547", 4, "-O0"), ("mps3-an547", 8, "-Os"), ("mps3-an547", 4, "-O2"), ("generic", 4, "-O3"),
])  # fmt: skip
def test_stream_equals_session(board: str, bits: int, level: str, tmp_path: Path) -> None:
    if board != "generic":
        need_tools()
    check_stream(subject(bits), board, level, tmp_path)


@pytest.mark.parametrize(("board", "block"), [("mps2-an386", 1), ("mps2-an500", 5), ("mps3-an547", 64)])
def test_blocks_equal_session(board: str, block: int, tmp_path: Path) -> None:
    """With hardly any memory beside the weights, as a session with a `BlockFlips`."""
    need_tools()
    artifact = subject(4)
    artifact = replace(artifact, settings=replace(artifact.settings, fraction_max=0.5, steps=60))
    whole = export(artifact, board, "64KB", "flip", tmp_path / "whole", options=ExportOptions(window=44))
    report = check_stream(artifact, board, "-O2", tmp_path, block)
    assert report.total("workspace") < whole.total("workspace") / 2
    assert report.total("arena") < whole.total("arena")


def check_stream(artifact: Artifact, board: str, level: str, tmp_path: Path, block: int | None = None) -> ExportReport:
    """Windows through a firmware and through a session."""
    report = export(
        artifact,
        board,
        "64KB",
        "flip",
        tmp_path / "firmware",
        options=ExportOptions(window=44, block=block),
        build=level == "-O2",
    )
    stream = Stream()
    for x, y in windows(artifact):
        learn(stream, artifact, x, y)
    results = run(tmp_path / "firmware", stream, f"OPT={level}")
    moved = 0
    with open_session(artifact, tmp_path, block) as (session, parts):
        for x, y in windows(artifact):
            rows = results.take("<i4", len(x), 1 + len(artifact.classes))
            assert np.array_equal(rows[:, 0], session.predict(x))
            expected = session.observe(x, y)
            assert not results.take("<i4", len(x)).any()
            got = results.take(REPORT, 1)[0]
            assert got["status"] == OK
            assert DECISIONS[got["decision"]] == expected.decision
            assert got["version"] == expected.version
            assert (got["steps"], got["accepted"], got["flips"]) == (expected.steps, expected.accepted, expected.flips)
            assert got["after"]["right"] / len(x) == expected.accuracy_after
            total = len(x) + len(artifact.coreset.y)
            assert got["after"]["loss"] / total / 65536 == pytest.approx(expected.loss_after, abs=1e-12)
            weights, bias = parameters(results, artifact)
            assert np.array_equal(weights, parts.engine.parameters.weights)
            assert np.array_equal(bias, parts.engine.parameters.bias)
            moved += expected.flips
    assert results.rest == 0
    assert moved > 0
    assert report.window == 44
    return report


def project(artifact: Artifact, folder: Path, window: int = 40) -> Path:
    export(artifact, "mps2-an386", "64KB", "flip", folder / "firmware", options=ExportOptions(window=window))
    return folder / "firmware"


def test_power_loss_and_torn_slots(tmp_path: Path) -> None:
    """A version survives a restart; a torn slot falls back to the other, two torn ones to flash."""
    need_tools()
    artifact = subject(4)
    folder = project(artifact, tmp_path)
    stream = Stream()
    for seed in (1, 2):
        learn(stream, artifact, *make_window(artifact, 30, seed=seed))
    results = run(folder, stream)
    kept = []
    for _ in range(2):
        results.take("<i4", 30, 5)
        assert results.take(REPORT, 1)[0]["decision"] == DECISIONS.index("committed")
        kept.append(parameters(results, artifact))
    slots = {path: path.read_bytes() for path in sorted(folder.glob("slot*.bin"))}
    assert len(slots) == 2
    check_in_force(folder, artifact, kept[1])
    newest, older = (list(slots)[i] for i in (1, 0))
    for torn in (slots[newest][:-70], _flipped(slots[newest]), b""):
        newest.write_bytes(torn)
        check_in_force(folder, artifact, kept[0])
    older.write_bytes(_flipped(slots[older]))
    check_in_force(folder, artifact, (artifact.constants.weights, artifact.constants.bias))


def _flipped(raw: bytes) -> bytes:
    """One bit of the payload changed."""
    return raw[:100] + bytes([raw[100] ^ 4]) + raw[101:]


def check_in_force(folder: Path, artifact: Artifact, expected: tuple[np.ndarray, np.ndarray]) -> None:
    weights, bias = parameters(run(folder, Stream().add(PARAMETERS, 1)), artifact)
    assert np.array_equal(weights, expected[0])
    assert np.array_equal(bias, expected[1])


def test_slots_of_another_model(tmp_path: Path) -> None:
    need_tools()
    artifact = subject(4)
    folder = project(artifact, tmp_path)
    stream = Stream()
    learn(stream, artifact, *make_window(artifact, 30))
    run(folder, stream)
    held = {path.name: path.read_bytes() for path in folder.glob("slot*.bin")}
    assert held
    other = replace(artifact, constants=replace(artifact.constants, bias=artifact.constants.bias + np.int32(1)))
    (tmp_path / "other").mkdir()
    foreign = project(other, tmp_path / "other")
    for name, raw in held.items():
        (foreign / name).write_bytes(raw)
    check_in_force(foreign, other, (other.constants.weights, other.constants.bias))


def test_rollback(tmp_path: Path) -> None:
    need_tools()
    artifact = subject(4)
    stream = Stream().add(ROLLBACK, 1)
    learn(stream, artifact, *make_window(artifact, 30))
    stream.add(ROLLBACK, 1).add(PARAMETERS, 1).add(START, 1).add(PARAMETERS, 1).add(ROLLBACK, 1)
    results = run(project(artifact, tmp_path), stream)
    assert results.take("<i4", 2).tolist() == [OLDEST, 0]
    results.take("<i4", 30, 5)
    assert results.take(REPORT, 1)[0]["version"] == 1
    assert not np.array_equal(parameters(results, artifact)[0], artifact.constants.weights)
    assert results.take("<i4", 2).tolist() == [OK, 2]
    assert np.array_equal(parameters(results, artifact)[0], artifact.constants.weights)
    assert results.take("<i4", 1).tolist() == [OK]
    assert np.array_equal(parameters(results, artifact)[0], artifact.constants.weights)
    assert results.take("<i4", 2).tolist() == [OLDEST, 2]


def test_full_window_and_bad_label(tmp_path: Path) -> None:
    artifact = subject(4)
    folder = tmp_path / "firmware"
    export(artifact, "generic", "64KB", "flip", folder, options=ExportOptions(window=2))
    codes = codes_of(artifact, make_window(artifact, 5)[0])
    labels = (0, len(artifact.classes), -1, 1, 2)
    rows = [part for label, sample in zip(labels, codes, strict=True) for part in (np.int32(label), sample)]
    results = run(folder, Stream().add(OBSERVE, 5, *rows))
    assert results.take("<i4", 5).tolist() == [OK, 1, OK, OK, 2]
