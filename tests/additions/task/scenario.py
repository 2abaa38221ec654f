"""A task: several labels at once, as a bitmask. What is predicted, how wrong it is and which way it should move, what a
label may be and what is right all follow its file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from artifacts import make_artifact, make_sparse_artifact
from calibrant import Session, load
from calibrant.artifact import write
from calibrant.cli import app
from calibrant.core.errors import CalibrantError
from calibrant.core.fmath import ERROR_ONE, LOSS_ONE
from calibrant.core.rng import generator
from calibrant.core.task import find
from calibrant.engine import Engine
from calibrant.updaters import defaults

PATH, STATE = Path("flags.cal"), Path("flags.db")
OUTPUTS, BITS = 3, np.arange(3)


def window(seed: int, n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Bit k raises channel k."""
    rng = generator(seed, "flags")
    y = rng.integers(0, 2**OUTPUTS, n)
    raised = 2 * bits_of(y)[:, :, None]
    return (rng.normal(0, 0.5, (n, OUTPUTS, 8)) + raised).astype(np.float32), y


def bits_of(y: np.ndarray) -> np.ndarray:
    return y[:, None] >> BITS & 1


def mean_loss(scores: np.ndarray, y: np.ndarray) -> float:
    """Binary cross-entropy in reals."""
    signed = np.where(bits_of(y), scores, -scores).astype(np.float64)
    return float(np.log1p(np.exp(-signed)).sum(axis=1).mean())


def refusal(attempt) -> str:
    try:
        attempt()
    except CalibrantError as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


# The error signal is the slope of the loss.
task, rng = find("flags"), generator(0, "scores")
scores, labels = rng.normal(0, 2, (64, OUTPUTS)).astype(np.float32), rng.integers(0, 8, 64)
loss, error = task.loss(scores, labels)
assert abs(loss.mean() / LOSS_ONE - mean_loss(scores, labels)) < 1e-3
assert np.abs(error / ERROR_ONE - (1 / (1 + np.exp(-scores)) - bits_of(labels))).max() < 1e-3
for k in range(OUTPUTS):
    nudge = np.float32(1 / 16) * (k == BITS).astype(np.float32)
    rise = (task.loss(scores + nudge, labels)[0] - task.loss(scores - nudge, labels)[0]) * 8 / LOSS_ONE
    assert np.abs(rise - error[:, k] / ERROR_ONE).max() < 2e-3

# An artifact names it, and its samples have labels of it.
plain = make_artifact(bits=8, settings=defaults("accumulated", rate=1e-2))
artifact = replace(plain, task="flags", coreset=replace(plain.coreset, y=np.arange(9) % 8))
write(PATH, artifact)
assert load(PATH).task == "flags"
said = refusal(lambda: write("no.cal", replace(artifact, coreset=replace(plain.coreset, y=np.arange(9)))))
assert said.endswith("section 'coreset/y': expected labels 0 to 7, got others"), said
said = refusal(lambda: write("no.cal", replace(artifact, task="classes")))
assert said.endswith("section 'coreset/y': expected labels 0 to 2, got others"), said

unseen, wanted = window(9)
with Session.open(PATH, STATE) as session:
    for y in (8, -2):
        said = refusal(lambda y=y: session.observe(unseen[:1], [y]))
        assert said.startswith("DataError: labels: expected classes 0 to 7 or -1 for unlabeled, got"), said
    x, y = window(0)
    before, at_first = session.scores(x), session.predict(unseen)
    assert np.array_equal(session.predict(x), ((before > 0) << BITS).sum(axis=1))
    report = session.observe(x, y)
    assert report.decision == "committed", report
    assert report.accuracy_before == ((before > 0) == bits_of(y)).all(axis=1).mean()
    assert report.accuracy_after == (session.predict(x) == y).mean() > report.accuracy_before + 0.5
    core = artifact.meaning.scores(Engine(artifact.program, artifact.constants).infer(artifact.coreset.x))
    told = mean_loss(np.concatenate([before, core]), np.concatenate([y, artifact.coreset.y]))
    assert abs(report.loss_before - told) < 1e-3
    assert report.loss_after < report.loss_before - 0.3
    assert session.observe(x).decision == "skipped"  # nothing is guessed
    assert session.ask(x, 5).shape == (5,)
    ticket = session.defer(window(1)[0])
    learned = session.version
with Session.open(PATH, STATE) as session:
    assert session.version == learned
    again = session.label(ticket, window(1)[1])
    assert again.accuracy_before > 0.8, again
    adapted = session.predict(unseen)
    assert (adapted == wanted).mean() > (at_first == wanted).mean() + 0.5
    assert session._parts.deployed.buffer.y.max() == 7  # private: what is kept of the stream, no caller sees

np.savez("unseen.npz", x=unseen, y=wanted)
for state, expected in ((["--state", str(STATE)], adapted), ([], at_first)):
    shown = CliRunner().invoke(app, ["predict", str(PATH), "-i", "unseen.npz", "--json", *state])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.output)["y"] == expected.tolist()
    names = dict(zip(expected.tolist(), json.loads(shown.output)["classes"], strict=True))
    assert names.get(0, "none") == "none"
    assert names.get(5, "class 0 and class 2") == "class 0 and class 2"
shown = CliRunner().invoke(app, ["predict", str(PATH), "-i", "unseen.npz", "--state", str(STATE)])
assert f"accuracy {(adapted == wanted).mean():.3f} on 150 labeled samples" in shown.output, shown.output
shown = CliRunner().invoke(app, ["run", str(PATH), "--state", "run.db", "--stream", "unseen.npz", "--window", "150"])
assert "committed" in shown.output, shown.output

with Session.open(PATH, STATE) as session:
    session.rollback(0)
    assert np.array_equal(session.predict(unseen), at_first)

# What only knows classes refuses it by name.
write(PATH, replace(make_sparse_artifact(), task="flags"))
said = refusal(lambda: Session.open(PATH))
assert said == "DataError: updater sparse: expected an artifact of task 'classes', got 'flags'", said
