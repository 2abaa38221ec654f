"""An updater: adapts by its form's name, is in history and log by its own, goes on where it was, and is undone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from artifacts import make_artifact, make_window
from calibrant import Session
from calibrant.artifact import write
from calibrant.bench.adaptation import UPDATERS
from calibrant.cli import app
from calibrant.updaters import FORMS, defaults

assert FORMS["nudged"].bench in UPDATERS
artifact = make_artifact(settings=defaults("nudged", rate=0.1, steps=20))
assert artifact.settings.rate == FORMS["nudged"].defaults["rate"] == 1.0
path, state = Path("small.cal"), Path("small.db")
write(path, artifact)


def skewed(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A window in which class 1, which the network never sees, is far more frequent than the others."""
    x, y = make_window(artifact, n=300, seed=seed)
    kept = np.flatnonzero((y == 1) | (np.arange(len(y)) % 10 == 0))
    return x[kept], y[kept]


unseen, labels = skewed(9)
with Session.open(path, state) as session:
    base, at_first = session.version, session.predict(unseen)
    first = session.observe(*skewed(1))
    assert (first.decision, first.updater, first.version) == ("committed", "nudged", 1), first
    assert first.flips == 0
    assert first.accepted > 0
    assert first.loss_after < first.loss_before - 0.3, first
    assert first.accuracy_after > first.accuracy_before + 0.3, first
    learned, adapted = session.version, session.predict(unseen)
assert (adapted == labels).mean() > (at_first == labels).mean() + 0.3

with Session.open(path, state) as session:
    assert session.version == learned
    assert session.version.weights_sha256 != base.weights_sha256
    assert np.array_equal(session.predict(unseen), adapted)
    held = session._parts.engine.parameters  # private: what the engine holds, no caller sees
    last = artifact.program.layers[-1].channel_slice
    moved = np.flatnonzero(held.bias != artifact.constants.bias)
    assert moved.size
    assert moved.min() >= last.start
    assert np.array_equal(held.weights, artifact.constants.weights)
    second = session.observe(*skewed(2))
    back = session.rollback(0)
    assert (back.decision, back.weights_sha256) == ("rolled back", base.weights_sha256)
    assert np.array_equal(session.predict(unseen), at_first)
    assert session._parts.engine.parameters == session._parts.deployed.at(0)  # private: as above

shown = CliRunner().invoke(app, ["log", str(state), "--json"])
assert shown.exit_code == 0, shown.output
log = [(version["number"], version["updater"], version["decision"]) for version in json.loads(shown.output)]
assert log[0] == (second.version + 1, "rollback", "rolled back"), log
assert log[-2:] == [(1, "nudged", "committed"), (0, "none", "base")], log
