"""SIGKILL at random moments: the state opens, its latest version is complete, nothing acknowledged is lost."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from calibrant import Session, write
from calibrant.artifact import Artifact
from calibrant.core.rng import generator
from calibrant.memory import database
from calibrant.memory.samples import fingerprint
from calibrant.session.wiring import Parts
from sessions import opened

Window = tuple[np.ndarray, np.ndarray]
KILLS = 50


@pytest.fixture
def eager_path(artifact: Artifact, tmp_path: Path) -> Path:
    """An artifact that commits whatever lowers the loss, so that nearly every window writes a version."""
    path = tmp_path / "eager.cal"
    write(path, dataclasses.replace(artifact, thresholds={"coreset_drop": 1.0, "holdout": 0.0}))
    return path


@pytest.fixture
def stream(artifact: Artifact, build_window: Callable[..., Window]) -> Window:
    """Windows whose classes change their meaning again and again: there is always something to learn."""
    windows = [build_window(artifact, n=24, seed=seed) for seed in range(300)]
    x = np.stack([w[0] for w in windows])
    y = np.stack([(w[1] + seed // 2) % 3 for seed, w in enumerate(windows)])
    return x, y


def check(artifact: Path, state: Path, acknowledged: int) -> int:
    """Open the state as the next run would; give its latest version."""
    with opened(artifact, state) as (session, parts):
        versions = session.versions()
        assert [v.number for v in versions] == list(range(len(versions)))
        assert session.version == versions[-1]
        check_coreset(session, parts, state)
        held = parts.engine.parameters.sha256
        assert held == session.version.weights_sha256
        assert session.version.number >= acknowledged
        return session.version.number


def check_coreset(session: Session, parts: Parts, state: Path) -> None:
    """The coreset is the one that was written with the last version or event; opening has checked its samples."""
    pool, events = parts.deployed.buffer, parts.store.events()
    told = [e.detail for e in events if "coreset_sha256" in e.detail]
    if events and events[-1].kind == "committed":
        told.append(session.version.metrics)
    assert not told or told[-1]["coreset_sha256"] == fingerprint(pool)
    assert pool.version.max() <= session.version.number
    stream = pool.id[~pool.source].tolist()
    with closing(database.connect(state, False)) as other:
        kept = other.execute("SELECT sample FROM codes ORDER BY sample").fetchall()
        waiting = other.execute("SELECT ticket FROM deferred").fetchall()
    assert [i for (i,) in kept] == stream
    for (ticket,) in waiting:
        assert len(parts.store.deferred(ticket, pool.x.shape[1:])) == 24


def test_killed_in_the_middle_of_observe(eager_path: Path, stream: Window, tmp_path: Path):
    rng = generator(0, "kill")
    state, latest = tmp_path / "s.db", 0
    grown = redrawn = 0
    for kill in range(KILLS):
        if kill % 10 == 0:  # creation can be cut off as well
            state, latest = tmp_path / f"s{kill}.db", 0
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            observe_forever(eager_path, state, stream, kill, writing)
        os.close(writing)
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            first = b"" if kill % 5 == 0 else pipe.read(1)  # some die while they open
            time.sleep(float(rng.uniform(0.001, 0.1)))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            acknowledged = (first + pipe.readall()).split()
        last = int(acknowledged[-1]) if acknowledged else latest
        number = check(eager_path, state, last)
        assert latest <= last <= number <= last + 1
        grown += number - latest
        latest = number
        with opened(eager_path, state) as (_, parts):
            redrawn += parts.deployed.buffer.of_source < len(parts.deployed.buffer)
    assert redrawn > KILLS // 2
    assert grown > KILLS // 2  # most children committed something before they died


def observe_forever(artifact: Path, state: Path, stream: Window, start: int, pipe: int) -> None:
    """Write each version's number to `pipe` once observe has returned; never return."""
    try:
        with Session.open(artifact, state) as session:
            for i in itertools.count(start):
                x, y = stream[0][i % len(stream[0])], stream[1][i % len(stream[1])]
                report = session.label(session.defer(x), y) if i % 3 == 0 else session.observe(x, y)
                os.write(pipe, b"%d\n" % report.version)
    finally:
        os._exit(1)


def test_killed_in_the_middle_of_calibrant_run(eager_path: Path, stream: Window, tmp_path: Path):
    rng = generator(0, "kill run")
    windows, state = tmp_path / "windows.npz", tmp_path / "s.db"
    np.savez(windows, x=stream[0], y=stream[1])
    command = [sys.executable, "-m", "calibrant", "run", str(eager_path), "--state", str(state)]
    command += ["--stream", str(windows), "--json"]
    latest = grown = 0
    for kill in range(KILLS):
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert child.stdout is not None
        seen = 0 if kill % 10 == 0 else int(rng.integers(1, 8))  # windows; some die at the start
        first = b"".join(child.stdout.readline() for _ in range(seen))
        time.sleep(float(rng.uniform(0, 0.05)))
        child.kill()
        out, err = child.communicate()
        lines = [json.loads(line) for line in (first + out).splitlines() if line.endswith(b"}")]
        assert lines or kill % 10 == 0, err.decode()
        last = lines[-1]["report"]["version"] if lines else latest
        number = check(eager_path, state, last)
        assert latest <= last <= number <= last + 1
        grown += number - latest
        latest = number
    assert grown > KILLS // 2
    finished = subprocess.run([*command, "--limit", "5"], capture_output=True, check=True)
    assert len(finished.stdout.splitlines()) == 5
    assert check(eager_path, state, latest) >= latest
