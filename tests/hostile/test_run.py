"""Bad input on the command line: one line on stderr, exit status 2, nothing changed."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from calibrant import Session
from calibrant.artifact import Artifact
from sessions import opened

Window = tuple[np.ndarray, np.ndarray]


def run(*arguments: object, file_limit: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    command = [sys.executable, "-m", "calibrant", "run", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)


def refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for words in said:
        assert words in lines[0]


@pytest.fixture
def stream(artifact: Artifact, build_window: Callable[..., Window], tmp_path: Path) -> Path:
    windows = [build_window(artifact, n=24, seed=seed) for seed in range(120)]
    x, y = np.stack([w[0] for w in windows]), np.stack([(w[1] + s // 2) % 3 for s, w in enumerate(windows)])
    np.savez(tmp_path / "windows.npz", x=x, y=y)
    return tmp_path / "windows.npz"


def test_a_missing_state_folder(artifact_path: Path, stream: Path, tmp_path: Path):
    state = tmp_path / "no" / "s.db"
    refused(run(artifact_path, "--state", state, "--stream", stream), str(state), "expected an existing folder")
    assert not state.parent.exists()


def test_a_damaged_artifact(artifact_path: Path, stream: Path, tmp_path: Path):
    artifact_path.write_bytes(artifact_path.read_bytes()[:-10])
    refused(run(artifact_path, "--state", tmp_path / "s.db", "--stream", stream), "small.cal", "truncated")
    assert not (tmp_path / "s.db").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x, y: (np.where(np.arange(8) == 3, np.nan, x), y), "finite values"),
        (lambda x, y: (x[:, :, :2], y), "expected 3 channels"),
        (lambda x, y: (x.astype(complex), y), "dtype complex"),
        (lambda x, y: (x, y + 5), "expected classes 0 to 2"),
    ],
)
def test_a_malformed_window(
    artifact_path: Path, stream: Path, tmp_path: Path, change: Callable[..., Window], said: str
):
    with np.load(stream) as arrays:
        x, y = change(arrays["x"], arrays["y"])
    np.savez(stream, x=x, y=y)
    refused(run(artifact_path, "--state", tmp_path / "s.db", "--stream", stream), said)
    with Session.open(artifact_path, tmp_path / "s.db") as session:
        assert session.version.number == 0


def test_a_full_disk(artifact_path: Path, stream: Path, tmp_path: Path):
    state = tmp_path / "s.db"
    refused(run(artifact_path, "--state", state, "--stream", stream, file_limit=120_000), str(state), "disk full")
    with opened(artifact_path, state) as (session, parts):
        assert session.version.number > 0
        assert parts.engine.parameters.sha256 == session.version.weights_sha256
    assert run(artifact_path, "--state", state, "--stream", stream, "--limit", 3).returncode == 0


def test_a_disk_full_from_the_start(artifact_path: Path, stream: Path, tmp_path: Path):
    refused(run(artifact_path, "--state", tmp_path / "s.db", "--stream", stream, file_limit=5_000), "disk full")
    assert run(artifact_path, "--state", tmp_path / "s.db", "--stream", stream, "--limit", 3).returncode == 0


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM codes", "expected codes, got none"),
        ("UPDATE codes SET payload = zeroblob(10)", "expected packed samples"),
        ("UPDATE sample SET label = 3", "expected label from 0 to 2, got 3"),
        ("DELETE FROM sample", "got 0 others"),
        ("DROP TABLE sample", "no such table"),
    ],
)
def test_a_damaged_coreset(artifact_path: Path, stream: Path, tmp_path: Path, statement: str, said: str):
    state = tmp_path / "s.db"
    assert run(artifact_path, "--state", state, "--stream", stream, "--limit", 3).returncode == 0
    connection = sqlite3.connect(state)
    connection.execute(statement)
    connection.commit()
    connection.close()
    refused(run(artifact_path, "--state", state, "--stream", stream), str(state), said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--labels", "1.5"), "--labels"),
        (("--capacity", "0"), "--capacity"),
        (("--delay", "16"), "expected fewer than 16 windows"),
    ],
)
def test_options_out_of_range(artifact_path: Path, stream: Path, tmp_path: Path, options: tuple[str, ...], said: str):
    done = run(artifact_path, "--state", tmp_path / "s.db", "--stream", stream, *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "s.db").exists()


def test_a_fraction_of_labels_needs_labels(artifact_path: Path, stream: Path, tmp_path: Path):
    with np.load(stream) as arrays:
        np.savez(stream, x=arrays["x"])
    refused(
        run(artifact_path, "--state", tmp_path / "s.db", "--stream", stream, "--labels", "0.5"), "expected labels 'y'"
    )
