"""Wrong input: one line on stderr that says what is wrong, exit status 2, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shell import Outcome, calibrant


def refused(outcome: Outcome, *words: str) -> None:
    """One line, status 2, nothing on stdout, every word in it."""
    assert outcome.status == 2, outcome
    assert outcome.err.count("\n") == 1, outcome.err
    assert outcome.err.startswith("calibrant: ")
    assert "Traceback" not in outcome.err
    assert outcome.out == "" or outcome.out.startswith("window")
    for word in words:
        assert word in outcome.err, outcome.err


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def x_nan(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    x = x.copy()
    x[3, 1, 7] = np.nan
    return {"x": x, "y": y}


STREAMS: dict[str, tuple[Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]], tuple[str, ...]]] = {
    "no x": (lambda x, y: {"data": x}, ("'x'", "data")),
    "nan": (x_nan, ("finite", "nan", "(3, 1, 7)")),
    "channels": (lambda x, y: {"x": x[:, :1], "y": y}, ("2 channels", "got 1")),
    "axes": (lambda x, y: {"x": x[:, 0], "y": y}, ("axes", "shape")),
    "dtype": (lambda x, y: {"x": x.astype("U8"), "y": y}, ("dtype",)),
    "labels above": (
        lambda x, y: {"x": x, "y": np.where(np.arange(len(y)) == 5, 3, y)},
        ("0 to 2", "got 3", "index 5"),
    ),
    "labels below": (lambda x, y: {"x": x, "y": y - 2}, ("-1", "got -2")),
    "label count": (lambda x, y: {"x": x, "y": y[:-1]}, ("shape", "(159,)")),
    "label dtype": (lambda x, y: {"x": x, "y": y + 0.5}, ("integers", "float64")),
}


@pytest.mark.parametrize("name", STREAMS)
def test_bad_stream(project: Path, tmp_path: Path, name: str) -> None:
    make, words = STREAMS[name]
    held = np.load(project / "stream.npz")
    bad, state = tmp_path / "bad.npz", tmp_path / "s.db"
    good = ("run", project / "model.cal", "--state", state, "--window", 40, "--stream")
    assert calibrant(*good, project / "stream.npz", "--limit", 1).status == 0
    before = calibrant("log", state, "--json").out
    np.savez(bad, **make(held["x"], held["y"]))
    refused(calibrant(*good, bad), *words)
    assert calibrant("log", state, "--json").out == before


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_stream_that_is_no_npz(project: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.npz").write_bytes(content)
    before = contents(tmp_path)
    refused(
        calibrant("run", project / "model.cal", "--state", tmp_path / "s.db", "--stream", tmp_path / "bad.npz"), "npz"
    )
    assert contents(tmp_path) == before


def test_pickles_are_never_loaded(project: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", x=np.array([{"code": "runs"}], dtype=object))
    outcome = calibrant("predict", project / "model.cal", "-i", tmp_path / "p.npz")
    refused(outcome, "p.npz", "another format or pickled objects")
    assert "allow_pickle" not in outcome.err


def test_missing_files(project: Path, tmp_path: Path) -> None:
    model, stream, gone = project / "model.cal", project / "stream.npz", tmp_path / "gone"
    refused(calibrant("inspect", gone), "gone")
    refused(calibrant("predict", model, "-i", gone), "gone")
    refused(calibrant("predict", model, "-i", stream, "--state", gone), "gone")
    refused(calibrant("run", model, "--state", tmp_path / "s.db", "--stream", gone), "gone")
    refused(calibrant("run", gone, "--state", tmp_path / "s.db", "--stream", stream), "gone")
    refused(calibrant("run", model, "--state", gone / "s.db", "--stream", stream), "gone")
    refused(calibrant("log", gone), "gone")
    refused(calibrant("rollback", gone, "--to", 0), "gone")
    refused(calibrant("prepare", f"{gone}.py:f", "--data", project / "train.npz", "-o", tmp_path / "o.cal"), "gone.py")
    model_py = f"{project / 'model.py'}:build"
    refused(calibrant("prepare", model_py, "--data", gone, "-o", tmp_path / "o.cal"), "gone")
    refused(calibrant("prepare", model_py, "--data", project / "train.npz", "-o", gone / "o.cal"), "gone")
    assert contents(tmp_path) == {}


def test_not_a_state(project: Path, tmp_path: Path) -> None:
    for name, content in (("text", b"hello"), ("long", bytes(range(256)) * 40)):
        path = tmp_path / name
        path.write_bytes(content)
        run = ("run", project / "model.cal", "--state", path, "--stream", project / "stream.npz")
        for arguments in (("log", path), ("rollback", path, "--to", 0), run):
            refused(calibrant(*arguments), name)
        assert path.read_bytes() == content


def test_damaged_artifact(project: Path, tmp_path: Path) -> None:
    raw = (project / "model.cal").read_bytes()
    flipped = bytearray(raw)
    flipped[-5] ^= 1
    stream = project / "stream.npz"
    for name, content in (("short", raw[:-100]), ("flipped", bytes(flipped)), ("empty", b""), ("long", raw + b"\0")):
        path = tmp_path / f"{name}.cal"
        path.write_bytes(content)
        refused(calibrant("inspect", path), path.name)
        refused(calibrant("run", path, "--state", tmp_path / "s.db", "--stream", stream), path.name)
        assert not (tmp_path / "s.db").exists()


def test_rollback_to_a_version_that_never_was(project: Path, tmp_path: Path) -> None:
    state = tmp_path / "s.db"
    run = ("run", project / "model.cal", "--state", state, "--stream", project / "stream.npz", "--limit", 1)
    assert calibrant(*run).status == 0
    before = calibrant("log", state, "--json").out
    refused(calibrant("rollback", state, "--to", 99), "99")
    assert calibrant("log", state, "--json").out == before


PREPARE: dict[str, tuple[str, tuple[object, ...], tuple[str, ...]]] = {
    "no colon": ("model.py", (), ("file.py:function",)),
    "no function": ("model.py:nothing", (), ("'nothing'",)),
    "not a module": ("model.py:not_a_model", (), ("torch.nn.Module", "int")),
    "its code raises": ("model.py:broken", (), ("RuntimeError", "out of coffee")),
    "bits": ("model.py:build", ("--bits", 3), ("2, 4, 8", "3")),
    "activation bits": ("model.py:build", ("--activation-bits", "many"), ("2 to 8", "many")),
    "compare": ("model.py:build", ("--compare", "4,x"), ("--compare", "4,x")),
    "rule": ("model.py:build", ("--coreset-rule", "psychic"), ("psychic",)),
    "form": ("model.py:build", ("--form", "psychic"), ("psychic",)),
    "classes": ("model.py:build", ("--classes", "a,b"), ("0 to 1", "got 2")),
    "key": ("model.py:build", ("--sign", "gone.key"), ("gone.key",)),
}


@pytest.mark.parametrize("name", PREPARE)
def test_bad_preparation(project: Path, tmp_path: Path, name: str) -> None:
    model, options, words = PREPARE[name]
    target = tmp_path / "o.cal"
    made = calibrant("prepare", project / model, "--data", project / "train.npz", "-o", target, *options)
    refused(made, *words)
    assert contents(tmp_path) == {}


def test_training_data_needs_labels(project: Path, tmp_path: Path) -> None:
    held = np.load(project / "train.npz")
    for name, arrays in (("none", {"x": held["x"]}), ("some", {"x": held["x"], "y": np.full(240, -1)})):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        model = f"{project / 'model.py'}:build"
        refused(calibrant("prepare", model, "--data", tmp_path / f"{name}.npz", "-o", tmp_path / "o.cal"), "label")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="gone"):
        calibrant("--debug", "inspect", tmp_path / "gone.cal")


def test_usage_errors_are_status_2() -> None:
    assert calibrant("run").status == 2
    assert calibrant("no-such-command").status == 2
