"""Files that earlier releases wrote open with today's code, give the same bits, and go on. See `make.py`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make import parts, samples, scored

from calibrant import Session, load
from calibrant.core.errors import StateError, VersionError
from calibrant.core.rng import generator
from calibrant.memory.store import Store

HERE = Path(__file__).parent
FORMATS = sorted(path.parent for path in HERE.glob("*/expected.json"))
ARTIFACTS = sorted(path.parent for path in HERE.glob("*/model.cal"))  # one with a new section may stand alone
STATES = [state for folder in FORMATS for state in sorted(folder.glob("*.db"))]
KILLS = 6

of_state = pytest.mark.parametrize("state", STATES, ids=[f"{s.parent.name}-{s.stem}" for s in STATES])
of_format = pytest.mark.parametrize("folder", FORMATS, ids=[folder.name for folder in FORMATS])

# Opens a state and tells when it begins to and when it has.
OPEN = """
import sys
from calibrant import Session
print("begin", flush=True)
Session.open(sys.argv[1], sys.argv[2])
print("open", flush=True)
sys.stdin.read()
"""
# Dies without a word where its connection is about to run the n-th statement that is more than a query.
DIE = """
import os, sqlite3, sys
from calibrant import Session

left = int(sys.argv[3])

def die(statement):
    global left
    if not statement.lstrip().upper().startswith("SELECT"):
        left -= 1
        if left < 0:
            os._exit(9)

connect = sqlite3.connect

def watched(*arguments, **options):
    connection = connect(*arguments, **options)
    connection.set_trace_callback(die)
    return connection

sqlite3.connect = watched
Session.open(sys.argv[1], sys.argv[2]).close()
"""


@pytest.fixture
def copy(state: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(state, tmp_path))


def model(state: Path) -> Path:
    return state.parent / "model.cal"


def expected(state: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((state.parent / "expected.json").read_text(encoding="ascii"))[state.stem]
    return told


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "calibrant", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def check(state: Path, copy: Path) -> None:
    """The copy holds what the state held, whichever schema it has by now."""
    with Session.open(model(state), copy) as session:
        rows = expected(state)["versions"]
        assert [(v.number, v.parent, v.weights_sha256) for v in session.versions()] == [
            (row["number"], row["parent"], row["weights_sha256"]) for row in rows
        ]
        assert scored(session) == rows[-1]["scores_sha256"]


@pytest.mark.parametrize("folder", ARTIFACTS, ids=[folder.name for folder in ARTIFACTS])
def test_an_artifact_opens_as_it_is(folder: Path):
    before = digest(folder / "model.cal")
    artifact = load(folder / "model.cal")
    assert {layer.bits for layer in artifact.program.layers} == {4}
    assert len(artifact.coreset.y) == 9
    assert folder.name.startswith(str(artifact.format_version))
    assert (artifact.home is not None) == (artifact.format_version >= 3)
    assert (artifact.recognition is not None) == (artifact.format_version >= 4)
    assert digest(folder / "model.cal") == before
    shown = run("inspect", folder / "model.cal", "--json")
    assert shown.returncode == 0, shown.stderr


@of_state
def test_a_state_opens_and_gives_the_same_bits(state: Path, copy: Path):
    check(state, copy)
    check(state, copy)  # upgraded by now, if there was anything to upgrade


@of_state
def test_its_history_can_be_read(state: Path, copy: Path):
    with Store.open(copy) as store:
        assert [[e.kind, e.version] for e in store.events()] == expected(state)["events"]
    shown = run("log", copy, "--json")
    assert shown.returncode == 0, shown.stderr
    versions = json.loads(shown.stdout)
    assert [v["decision"] for v in reversed(versions)] == [row["decision"] for row in expected(state)["versions"]]
    lines = run("log", copy).stdout
    assert all(f"version {row['number']}" in lines for row in expected(state)["versions"])


@of_state
def test_its_session_goes_on(state: Path, copy: Path):
    rows = expected(state)["versions"]
    reports = []
    with Session.open(model(state), copy) as session:
        for x, y in parts(samples(30, 144), 3):
            reports += [session.observe(x), session.observe(x, y)]
        latest, scores = session.version, scored(session)
    assert latest.number > rows[-1]["number"]
    assert {r.decision for r in reports} >= {"committed"}
    with Session.open(model(state), copy) as session:
        assert (session.version, scored(session)) == (latest, scores)


@of_state
def test_it_goes_back_to_every_version(state: Path, copy: Path):
    rows = expected(state)["versions"]
    with Session.open(model(state), copy) as session:
        for row in rows:
            version = session.rollback(row["number"])
            assert version.weights_sha256 == row["weights_sha256"]
            assert scored(session) == row["scores_sha256"]
        assert session.version.number == rows[-1]["number"] + len(rows)


@of_format
def test_the_deferred_window_still_waits(folder: Path, tmp_path: Path):
    copy = Path(shutil.copy(folder / "labeled.db", tmp_path))
    _, y = parts(samples(1, 150), 6)[1]
    with Session.open(folder / "model.cal", copy) as session:
        assert session.label(2, y).labels == len(y)
        with pytest.raises(StateError, match="ticket"):
            session.label(2, y)


@of_format
def test_only_the_artifact_that_it_belongs_to_opens_it(folder: Path, artifact_path: Path, tmp_path: Path):
    copy = Path(shutil.copy(folder / "labeled.db", tmp_path))
    with pytest.raises(StateError, match="expected the state of artifact"):
        Session.open(artifact_path, copy)
    check(folder / "labeled.db", copy)


@of_state
def test_killed_while_it_opens(state: Path, tmp_path: Path):
    rng = generator(0, "kill opening")
    for kill in range(KILLS):
        copy = tmp_path / f"{kill}.db"
        shutil.copy(state, copy)
        process = subprocess.Popen(
            [sys.executable, "-c", OPEN, str(model(state)), str(copy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"begin\n"
        time.sleep(float(rng.uniform(0.0, 0.12)))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        check(state, copy)


@of_state
def test_dead_at_every_statement_of_the_upgrade(state: Path, tmp_path: Path):
    """Old or new, nothing between, and both open."""
    for statement in range(200):
        copy = tmp_path / f"{statement}.db"
        shutil.copy(state, copy)
        dead = subprocess.run([sys.executable, "-c", DIE, str(model(state)), str(copy), str(statement)])
        assert dead.returncode in (0, 9)
        found = schema(copy)
        check(state, copy)
        assert found in (expected(state)["schema"], schema(copy))
        if dead.returncode == 0:
            return
    pytest.fail("opening never got through")


def schema(path: Path) -> int:
    """What a reader finds after the crash."""
    connection = sqlite3.connect(path)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return int(version)
    finally:
        connection.close()


@of_state
def test_a_state_of_a_later_release_is_refused(state: Path, copy: Path):
    connection = sqlite3.connect(copy, isolation_level=None)
    connection.execute("PRAGMA user_version = 1000")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = digest(copy)
    with pytest.raises(StateError, match=r"got 1000 \(newer release\?\)"):
        Session.open(model(state), copy)
    np.savez(copy.parent / "window.npz", x=samples(1, 3)[0])
    for arguments in (
        ("log", copy),
        ("run", model(state), "--state", copy, "--stream", copy.parent / "window.npz"),
    ):
        refused(run(*arguments), str(copy), "1000")
    assert digest(copy) == before


@of_format
def test_an_artifact_of_a_later_release_is_refused(folder: Path, tmp_path: Path):
    later = tmp_path / "later.cal"
    raw = (folder / "model.cal").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + size])
    manifest = json.loads(header["__metadata__"]["calibrant"])
    header["__metadata__"]["calibrant"] = json.dumps(manifest | {"format_version": 1000})
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    later.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + size :])
    before = digest(later)
    with pytest.raises(VersionError):
        load(later)
    refused(run("inspect", later), str(later), "1000")
    np.savez(tmp_path / "window.npz", x=samples(1, 3)[0])
    stream, state = tmp_path / "window.npz", tmp_path / "s.db"
    refused(run("run", later, "--state", state, "--stream", stream), str(later), "1000")
    assert digest(later) == before


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One sentence on stderr, nothing on stdout, status 2."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in words), done.stderr
