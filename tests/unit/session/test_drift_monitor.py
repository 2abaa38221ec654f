"""The gate in a session: windows without drift are left alone, the state remembers, reopening changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibrant.artifact import Artifact, write
from calibrant.core.errors import StateError
from calibrant.core.parameters import Parameters
from calibrant.core.reports import UpdateReport
from calibrant.session import Session
from calibrant.session.label_screen import LabelScreen, Screened
from calibrant.session.unsupervised import Study
from calibrant.session.wiring import Parts
from deployments import CHANNELS, LENGTH, Samples, deployment
from sessions import opened

Window = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("monitor") / "small.cal"
    write(place, deployment().prepared.artifact)
    return place


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose coreset may be lost: lies can be learned."""
    place = tmp_path_factory.mktemp("monitor") / "lenient.cal"
    write(place, replace(deployment().prepared.artifact, thresholds={"coreset_drop": 1.0, "holdout": 0.0}))
    return place


def divided(samples: Samples, count: int) -> list[Window]:
    order = np.random.default_rng(0).permutation(len(samples[1]))
    return [(samples[0][rows], samples[1][rows]) for rows in np.array_split(order, count)]


def weights(parts: Parts) -> bytes:
    return parts.engine.parameters.weights.tobytes() + parts.engine.parameters.bias.tobytes()


@pytest.mark.parametrize("labels", [True, False])
def test_the_source_is_left_alone(path: Path, labels: bool):
    with opened(path) as (session, parts):
        before = weights(parts)
        for x, y in divided(deployment().source, 6):
            report = session.observe(x, y if labels else None)
            assert (report.decision, report.version) == ("skipped", 0)
            assert report.reason.startswith("gate: 0 of 25 wrong" if labels else "abstained: nothing has shifted")
            assert report.accuracy_before == report.accuracy_after == (1.0 if labels else None)
        assert weights(parts) == before
        if labels:
            detail = parts.store.events()[-1].detail
            assert detail["errors"] == 0
            assert detail["distance"] < 2


def test_another_domain_is_learned_and_then_left_alone(path: Path):
    target = deployment().target
    with Session.open(path) as session:
        reports = [session.observe(x, y) for x, y in divided(target, 2) * 6]
        assert reports[0].decision == "committed"
        assert reports[-1].reason.startswith("gate: ")
        assert (session.predict(target[0]) == target[1]).mean() > 0.95
        assert session.versions()[1].metrics["errors"] > 10


def test_the_gate_is_not_asked_about_windows_without_labels(path: Path, monkeypatch: pytest.MonkeyPatch):
    """What they are of, those say who learn from them."""
    with opened(path) as (session, parts):
        asked = []
        monkeypatch.setattr(
            parts.unsupervised, "adapt", lambda x, arrived=False: asked.append(len(x)) or Study("abstained")
        )
        monkeypatch.setattr(parts.monitor, "look", None)
        for x, _ in [*divided(deployment().source, 6), *divided(deployment().target, 2)]:
            assert session.observe(x).reason == "abstained"
        assert asked == [25] * 6 + [48] * 2


def test_without_a_gate_every_window_is_learned_from(path: Path):
    x, y = divided(deployment().source, 6)[0]
    with Session.open(path, gate=False) as session:
        assert not session.observe(x, y).reason.startswith("gate")


def test_a_rollback_brings_the_gate_of_that_time_back(path: Path):
    with opened(path) as (session, parts):
        with believing():
            for x, y in divided(deployment().target, 2) * 2:
                session.observe(x, np.roll(y, 1))  # wrong labels: nothing can be gained
        assert parts.monitor.memory()["gate"]["error"]["best"] is not None  # an alarm goes on
        session.rollback(0)
        x, y = divided(deployment().source, 6)[0]
        session.observe(x, y)
        error = parts.monitor.memory()["gate"]["error"]
        assert (error["expected"], error["best"]) == (0.005, None)


def lied(session: Session, parts: Parts) -> bytes:
    """Teach what is wrong; the weights after it."""
    x, y = deployment().source
    with believing():
        for _ in range(3):
            assert session.observe(x, (y + 1) % 3).decision == "committed"
    return weights(parts)


@contextmanager
def believing() -> Iterator[None]:
    """Every label is believed, and home may be lost: what undoes lies is what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LabelScreen, "screen", lambda _, lesson, right: Screened(lesson))
        patch.setattr("calibrant.session.supervised.home_lost", lambda *_: None)
        yield


@pytest.mark.parametrize("reopened", [False, True])
def test_what_new_labels_speak_against_is_undone(lenient: Path, tmp_path: Path, reopened: bool):
    state, windows = tmp_path / "s.db", divided(deployment().source, 6)
    with ExitStack() as stack:
        session, parts = stack.enter_context(opened(lenient, state))
        start = weights(parts)
        assert lied(session, parts) != start
        if reopened:
            stack.close()
            session, parts = stack.enter_context(opened(lenient, state))
        report = session.observe(*windows[0])
        assert (report.decision, report.version, report.accuracy_after) == ("rejected", 4, 1.0)
        assert report.flips > 0
        assert report.accuracy_before < 0.7
        assert report.reason.startswith("version 0 does better")
        assert weights(parts) == start
        assert session.versions()[-1].parent == 0
        for window in windows[1:]:
            if reopened:  # what the gate goes on from came with the version
                stack.close()
                session, parts = stack.enter_context(opened(lenient, state))
            report = session.observe(*window)
            assert (report.decision, report.version) == ("skipped", 4)
            assert "usual is 0.5 %" in report.reason


@pytest.mark.parametrize("reopened", [False, True])
def test_what_was_undone_stays_undone_without_labels(lenient: Path, tmp_path: Path, reopened: bool):
    state, windows = tmp_path / "s.db", divided(deployment().source, 6)
    with ExitStack() as stack:
        session, parts = stack.enter_context(opened(lenient, state))
        start = weights(parts)
        lied(session, parts)
        assert session.observe(*windows[0]).reason.startswith("version 0 does better")
        if reopened:
            stack.close()
            session, parts = stack.enter_context(opened(lenient, state))
        for x, _ in windows[1:]:
            assert session.observe(x).reason == "abstained: nothing has shifted"
            assert weights(parts) == start


def test_going_back_settles_a_window_that_waited(lenient: Path):
    with opened(lenient) as (session, parts):
        x, y = divided(deployment().source, 6)[0]
        ticket = session.defer(x)
        lied(session, parts)
        assert session.label(ticket, y).decision == "rejected"
        with pytest.raises(StateError):
            session.label(ticket, y)


def test_a_full_disk_leaves_the_version_in_force_and_regret_its_case(lenient: Path, monkeypatch: pytest.MonkeyPatch):
    with opened(lenient) as (session, parts):
        learned, window = lied(session, parts), divided(deployment().source, 6)[0]

        def full(*_: object) -> None:
            raise StateError("disk full")

        with monkeypatch.context() as patch:
            patch.setattr(parts.store, "rollback", full)
            with pytest.raises(StateError, match="disk full"):
                session.observe(*window)
        assert weights(parts) == learned
        assert session.observe(*window).decision == "rejected"


def test_an_interrupt_while_versions_are_compared_changes_nothing(lenient: Path, monkeypatch: pytest.MonkeyPatch):
    with opened(lenient) as (session, parts):
        learned, window = lied(session, parts), divided(deployment().source, 6)[0]

        with monkeypatch.context() as patch:

            def interrupt(number: int) -> Parameters:
                patch.undo()
                raise KeyboardInterrupt

            patch.setattr(parts.deployed, "at", interrupt)
            with pytest.raises(KeyboardInterrupt):
                session.observe(*window)
        assert weights(parts) == learned
        assert session.observe(*window).reason.startswith("version 0 does better")


def test_what_drift_makes_true_is_kept(path: Path):
    target = deployment().target
    with opened(path) as (session, parts):
        reports = [session.observe(x, y) for x, y in divided(target, 6) * 2]
        assert not any("does better" in report.reason for report in reports)
        assert parts.monitor.memory().get("regret") is None  # the alarm is over


@pytest.mark.parametrize("n", [1, 7, 96])
def test_windows_of_any_size_in_any_order(path: Path, n: int):
    x, y = (part[:n] for part in deployment().target)
    seen: list[UpdateReport] = []
    for order in (np.arange(n), np.random.default_rng(1).permutation(n)):
        with opened(path) as (session, parts):
            seen.append(session.observe(x[order], y[order]))
            detail = session.version.metrics or parts.store.events()[-1].detail
            seen[-1] = replace(seen[-1], milliseconds=detail["distance"])
    assert seen[0] == seen[1]


def test_an_artifact_that_says_nothing_of_the_usual(tmp_path: Path):
    artifact: Artifact = deployment().prepared.artifact
    write(tmp_path / "mute.cal", replace(artifact, usual=replace(artifact.usual, spread=0.0)))
    with Session.open(tmp_path / "mute.cal") as session:
        x = np.zeros((5, CHANNELS, LENGTH), np.float32)
        assert not session.observe(x).reason.startswith("gate")
        assert session.observe(*deployment().source).reason.startswith("gate: 0 of 150 wrong")
