"""Ctrl-C, a reader that leaves, and a start that stays light."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from shell import calibrant, spawn

HEAVY = ("torch", "onnx", "onnxruntime", "scipy", "sklearn", "typer", "rich", "matplotlib", "cryptography")


@pytest.fixture
def long_stream(project: Path, tmp_path: Path) -> Path:
    """The project's stream many times over."""
    held = np.load(project / "stream.npz")
    np.savez(tmp_path / "long.npz", x=np.tile(held["x"], (200, 1, 1)), y=np.tile(held["y"], 200))
    return tmp_path / "long.npz"


def test_ctrl_c_keeps_what_was_committed(project: Path, long_stream: Path, tmp_path: Path) -> None:
    state = tmp_path / "s.db"
    run = spawn("run", project / "model.cal", "--state", state, "--stream", long_stream, "--window", 40, "--json")
    assert run.stdout is not None
    seen = [json.loads(run.stdout.readline())["report"] for _ in range(3)]
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert err.count("\n") == 1
    assert "interrupted" in err
    history = json.loads(calibrant("log", state, "--json").out)
    assert history[0]["number"] >= seen[-1]["version"]
    more = calibrant("run", project / "model.cal", "--state", state, "--stream", long_stream, "--limit", 1)
    assert more.status == 0


def test_a_reader_that_leaves_is_no_error(project: Path, long_stream: Path, tmp_path: Path) -> None:
    state = tmp_path / "s.db"
    run = spawn("run", project / "model.cal", "--state", state, "--stream", long_stream, "--window", 40, "--json")
    assert run.stdout is not None
    assert run.stderr is not None
    run.stdout.readline()
    run.stdout.close()
    err = run.stderr.read()
    run.stderr.close()
    run.wait(timeout=60)
    assert err == ""
    assert calibrant("log", state).status == 0


@pytest.mark.parametrize("module", ["calibrant", "calibrant.session"])
def test_import_is_light(module: str) -> None:
    code = f"import sys, {module}; print(' '.join(sorted({{*sys.modules, *(n.split('.')[0] for n in sys.modules)}})))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert module in loaded
    assert not set(HEAVY) & set(loaded)
