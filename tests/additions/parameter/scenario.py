"""A kind of parameter: how often a channel is doubled. Versions, deltas and rollback carry it without a word of their
own, and states of releases that did not know it go on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from artifacts import make_artifact, make_window
from calibrant import Session, load
from calibrant.artifact import Artifact, write
from calibrant.core.errors import PlanError, StateError
from calibrant.core.evaluation import Evaluation
from calibrant.core.parameters import KINDS, Parameters
from calibrant.engine import Engine
from calibrant.updaters.base import AdaptableEngine, Samples, UpdateOutcome, descend, evaluate
from calibrant.updaters.guarded_flips import GuardedFlips
from formats.make import parts, samples, scored

assert [kind.name for kind in KINDS] == ["weights", "bias", "multiplier", "shift", "doubling"]
FORMATS = Path(__file__).parents[2] / "formats"


class Gains(GuardedFlips):
    """Halves one channel after another, or doubles it, where that lowers the loss."""

    name = "gains"

    def update(
        self, engine: AdaptableEngine, samples: Samples, start: Evaluation, steps: int, state: None = None
    ) -> UpdateOutcome:
        channels = self.program.layers[0].c_out  # the last layer's sums are the scores, nothing rescales them
        moves = iter([(channel, by) for by in (-1, 1) for channel in range(channels)] * steps)

        def step(current: Evaluation) -> None:
            channel, by = next(moves)
            doubling = current.parameters["doubling"].copy()
            doubling[channel] += by
            engine.load(current.parameters.replaced(doubling=doubling))
            if samples.loss(evaluate(engine, samples, self.meaning)) >= samples.loss(current):
                engine.load(current.parameters)

        return descend(self.name, engine, samples, start, step, self.meaning, steps, self.settings.loss_goal)


def gains(artifact: Artifact) -> Gains:
    return Gains.of(artifact, replace(artifact.settings, form="pooled", steps=40, loss_goal=0.0))


def held(session: Session) -> Parameters:
    return session._parts.engine.parameters  # private: what the engine holds, no caller sees


def adapts(artifact: Artifact, path: Path, state: Path) -> None:
    """Learned, committed, followed by the engine, found again, and undone bit for bit."""
    updater = gains(artifact)
    unseen, _ = make_window(artifact, n=200, seed=9)
    with Session.open(path, state, updater=updater, gate=False) as session:
        base, before, at_first = session.version, held(session), session.scores(unseen)
        report = session.observe(*make_window(artifact, n=120))
        assert (report.decision, report.updater, report.flips) == ("committed", "gains", 0), report
        assert report.loss_after < report.loss_before - 0.02, report
        learned, after, adapted = session.version, held(session), session.scores(unseen)
    assert not np.array_equal(after["doubling"], before["doubling"])
    assert after == before.replaced(doubling=after["doubling"])
    assert after.sha256 == learned.weights_sha256 != base.weights_sha256
    x = session._encode(unseen)  # private: codes as the engine takes them
    alone = Engine(artifact.program, replace(artifact.constants, shift=after.shift - after["doubling"]))
    assert np.array_equal(artifact.meaning.scores(alone.infer(x)), adapted)
    assert not np.array_equal(adapted, at_first)

    with Session.open(path, state, updater=updater, gate=False) as session:
        assert session.version == learned
        assert held(session) == after
        assert np.array_equal(session.scores(unseen), adapted)
        further = session.observe(*make_window(artifact, n=120, seed=5))
        assert further.loss_after <= further.loss_before
        assert session.rollback(0).weights_sha256 == base.weights_sha256
        assert held(session) == Parameters.of(artifact.constants)
        assert np.array_equal(session.scores(unseen), at_first)
        back = session.rollback(learned.number)
        assert (back.decision, back.weights_sha256) == ("rolled back", learned.weights_sha256)
    with Session.open(path, state) as session:
        assert held(session) == after


def refusal(attempt) -> str:
    try:
        attempt()
    except (PlanError, StateError) as error:
        return str(error)
    return "not refused"


artifact = make_artifact(bits=8)
write("small.cal", artifact)
adapts(artifact, Path("small.cal"), Path("small.db"))

# What the engine refuses of an artifact it refuses of a version, and nothing changes.
engine = Engine(artifact.program, artifact.constants)
own, x = engine.parameters, np.ones((1, 1, 8, 3), np.int8)
outputs = engine.infer(x)
said = refusal(lambda: engine.load(own.replaced(bias=own.bias + 9, doubling=own["doubling"] + np.int8(63))))
assert said == "constants: channel 0: multiplier must be 0 or more and shift 1 to 62", said
said = refusal(lambda: engine.load(own.replaced(doubling=own["doubling"][1:])))
assert said.startswith("doubling: expected int8[9], got int8[8]"), said
assert engine.parameters == own
assert np.array_equal(engine.infer(x), outputs)


# States of releases that knew two kinds: their versions say nothing of the others, which are the artifact's.
def goes_on(folder: Path) -> None:
    cal = Path(f"{folder.name}.cal")
    write(cal, load(folder / "model.cal"))
    older = load(cal)
    kept = Parameters.of(older.constants)
    for name, told in json.loads((folder / "expected.json").read_text("ascii")).items():
        rows = told["versions"]
        state = Path(shutil.copy(folder / f"{name}.db", f"{folder.name}-{name}.db"))
        with Session.open(cal, state) as session:
            for row in rows:
                assert session.rollback(row["number"]).weights_sha256 == row["weights_sha256"]
                assert scored(session) == row["scores_sha256"]
                now = held(session)
                assert now == kept.replaced(weights=now.weights, bias=now.bias)
        updater = gains(older)
        with Session.open(cal, state, updater=updater, gate=False) as session:
            decisions = {session.observe(x, y).decision for x, y in parts(samples(30, 144), 3)}
            latest, now = session.version, held(session)
        assert "committed" in decisions, decisions
        with Session.open(cal, state) as session:
            assert (session.version, held(session)) == (latest, now)
            assert session.rollback(rows[-1]["number"]).weights_sha256 == rows[-1]["weights_sha256"]
            assert scored(session) == rows[-1]["scores_sha256"]


for found in ("2", "2.3"):
    goes_on(FORMATS / found)
