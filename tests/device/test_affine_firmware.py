"""Firmware that corrects its channels gives the very constants and outputs that Linux gives, on every board."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from emulator import EMULATED, INFER, Results, Stream, need_tools, run

from artifacts import at_home, make_artifact, make_window
from calibrant.artifact import Artifact
from calibrant.core.parameters import Parameters
from calibrant.core.rng import generator
from calibrant.core.window import encode
from calibrant.engine import Engine
from calibrant.export import ExportOptions, export
from calibrant.pipeline import torch_model
from calibrant.session.domain import single
from calibrant.updaters.affine_correction import AffineCorrection
from networks import NETWORKS, network

OBSERVE, CORRECT, ROLLBACK, PARAMETERS, START, FORGET = range(3, 9)
OK, FULL, OLDEST = 0, 2, 4
NAMES = ("bias", "multiplier", "shift")
SIZES = (40, 3, 17)
FROM_HOME = np.int32([1])
PAIRS = tuple(zip(NETWORKS, EMULATED * 3, strict=False))


def prepared(name: str) -> Artifact:
    model, sample = network(name)
    rng = generator(0, name)
    x = rng.normal(0.5, 1.5, (60, *sample.shape[1:])).astype(np.float32)
    y = np.arange(60) % model.eval()(sample).shape[1]
    return torch_model.prepare(model, x, y, bits=8, coreset=6, epochs=0).artifact


def elsewhere(artifact: Artifact, n: int, seed: int) -> np.ndarray:
    """Codes of a domain with another gain and offset."""
    rng = generator(seed, "elsewhere")
    x = rng.normal(0.5, 1.5, (n, *artifact.input_shape)) * rng.uniform(0.5, 1.8) + rng.uniform(-1, 1)
    return codes_of(artifact, x.astype(np.float32))


def codes_of(artifact: Artifact, x: np.ndarray) -> np.ndarray:
    return encode(x, artifact.program.tensors[artifact.program.input], artifact.preprocess, artifact.input_shape)


def taken(results: Results, artifact: Artifact) -> dict[str, np.ndarray]:
    """Constants of the corrected channels."""
    return {name: results.take("<i4", artifact.program.layers[-1].channel_offset) for name in NAMES}


def same(got: dict[str, np.ndarray], expected: Parameters) -> bool:
    return all(np.array_equal(values, expected[name][: len(values)]) for name, values in got.items())


def correct(stream: Stream, codes: np.ndarray) -> Stream:
    return stream.add(OBSERVE, len(codes), codes).add(CORRECT, 1).add(PARAMETERS, 1)


def check_stream(artifact: Artifact, folder: Path, *arguments: str) -> None:
    """Windows with a memory of nothing, then of home, through a firmware and on Linux."""
    windows = [elsewhere(artifact, n, seed) for seed, n in enumerate((*SIZES, *SIZES[:2]))]
    stream = Stream()
    for number, codes in enumerate(windows):
        if number == len(SIZES):
            stream.add(FORGET, 1, FROM_HOME)
        correct(stream, codes).add(INFER, 2, codes[:2])
    results = run(folder, stream, *arguments)
    engine, correction = Engine(artifact.program, artifact.constants), AffineCorrection.of(artifact)
    base, memory = engine.parameters, correction.from_nothing()
    moved = 0
    for number, codes in enumerate(windows):
        if number == len(SIZES):
            memory = single(correction.from_home())
        engine.load(base)
        memory = single(correction.correct(engine, codes, memory)[1])
        expected, _ = correction.correct(engine, codes[:0], memory)
        assert not results.take("<i4", len(codes)).any()
        status, version, samples, corrected = results.take("<i4", 4).tolist()
        assert (status, version, samples) == (OK, number + 1, len(codes))
        assert same(taken(results, artifact), expected)
        changed = sum((expected[name] != base[name]).astype(int) for name in NAMES) > 0
        assert corrected == np.count_nonzero(changed)
        engine.load(expected)
        rows = results.take("<i4", 2, 1 + len(artifact.classes))
        assert np.array_equal(rows[:, 1:], engine.infer(codes[:2]))
        moved += corrected
    assert results.rest == 0
    assert moved > 0


@pytest.mark.parametrize(("name", "board"), PAIRS)
def test_networks(name: str, board: str, tmp_path: Path) -> None:
    need_tools()
    artifact = prepared(name)
    export(artifact, board, "256KB", "affine", tmp_path / "firmware", build=True)
    check_stream(artifact, tmp_path / "firmware")


@pytest.mark.parametrize("board", [*EMULATED, "generic"])
@pytest.mark.parametrize("level", ["-O0", "-Os", "-O3"])
def test_optimization_levels(board: str, level: str, tmp_path: Path) -> None:
    if board != "generic":
        need_tools()
    artifact = at_home(make_artifact(length=11, hidden=9), n=400)
    export(artifact, board, "64KB", "affine", tmp_path / "firmware")
    check_stream(artifact, tmp_path / "firmware", f"OPT={level}")


def test_power_loss_rollback_and_torn_slots(tmp_path: Path) -> None:
    """A version with its memory survives a restart; a torn slot falls back to the other, two torn ones to flash."""
    need_tools()
    artifact = at_home(make_artifact(), n=400)
    folder = tmp_path / "firmware"
    report = export(artifact, "mps2-an500", "64KB", "affine", folder)
    assert report.window == 40
    windows = [codes_of(artifact, make_window(artifact, 40, seed)[0] * np.float32(1.7)) for seed in (1, 2, 3)]
    stream = Stream().add(ROLLBACK, 1)
    results = run(folder, correct(correct(stream, windows[0]), windows[1]))
    assert results.take("<i4", 2).tolist() == [OLDEST, 0]
    kept = []
    for _ in range(2):
        results.take("<i4", 44)
        kept.append(taken(results, artifact))
    slots = sorted(folder.glob("slot*.bin"))
    raw = {path: path.read_bytes() for path in slots}
    again = run(folder, correct(Stream().add(PARAMETERS, 1), windows[2]))
    assert_equal(taken(again, artifact), kept[1])
    whole = export(artifact, "generic", "64KB", "affine", tmp_path / "other")
    assert whole.window == 40
    through = run(tmp_path / "other", correct(correct(correct(Stream(), windows[0]), windows[1]), windows[2]))
    through.take("<i4", 2 * (44 + 3 * 6))
    for each in (again, through):  # the memory was not lost either
        assert each.take("<i4", 44)[41] == 3
    assert_equal(taken(again, artifact), taken(through, artifact))
    for path, content in raw.items():
        path.write_bytes(content)
    back = run(folder, Stream().add(ROLLBACK, 2).add(PARAMETERS, 1).add(START, 1).add(PARAMETERS, 1))
    assert back.take("<i4", 4).tolist() == [OK, 3, OLDEST, 3]
    assert_equal(taken(back, artifact), kept[0])
    assert back.take("<i4", 1).tolist() == [OK]
    assert_equal(taken(back, artifact), kept[0])
    for path, content in raw.items():
        path.write_bytes(content)
    factory = {name: getattr(artifact.constants, name)[:6] for name in NAMES}
    for path, expected in ((slots[1], kept[0]), (slots[0], factory)):
        path.write_bytes(raw[path][:100] + bytes([raw[path][100] ^ 4]) + raw[path][101:])
        assert_equal(taken(run(folder, Stream().add(PARAMETERS, 1)), artifact), expected)


def assert_equal(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, values in got.items():
        assert np.array_equal(values, expected[name]), name


def test_a_full_window(tmp_path: Path) -> None:
    artifact = at_home(make_artifact())
    export(artifact, "generic", "64KB", "affine", tmp_path / "firmware", options=ExportOptions(window=2))
    results = run(tmp_path / "firmware", Stream().add(OBSERVE, 3, artifact.coreset.x[:3]))
    assert results.take("<i4", 3).tolist() == [OK, OK, FULL]
