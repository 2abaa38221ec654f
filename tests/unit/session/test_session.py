"""The loop on a real engine: learn, verify, commit, restore, roll back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant import Budget, FlipSettings, Session, write
from calibrant.artifact import Artifact
from calibrant.core.errors import BudgetError, DataError, StateError
from calibrant.core.logits import logits
from calibrant.core.reports import UpdateReport
from calibrant.core.window import encode
from calibrant.engine import Engine, variants
from calibrant.session.wiring import Parts
from calibrant.updaters.base import Samples, UpdateOutcome, evaluate
from sessions import opened

Window = tuple[np.ndarray, np.ndarray]


def sha(parts: Parts) -> str:
    """Hash of what the engine really holds."""
    return parts.engine.parameters.sha256


def learn(session: Session, artifact: Artifact, make: Callable[..., Window], windows: int = 8) -> list[UpdateReport]:
    return [session.observe(*make(artifact, seed=seed)) for seed in range(windows)]


def test_predictions_are_the_engines(artifact: Artifact, artifact_path: Path, window: Window):
    x, _ = window
    program = artifact.program
    codes = encode(x, program.tensors[0], artifact.preprocess, artifact.input_shape)
    expected = logits(Engine(program, artifact.constants, "ref").infer(codes), program, artifact.constants)
    for variant in variants():
        with Session.open(artifact_path, variant=variant) as session:
            assert session.variant == variant
            assert np.array_equal(session.scores(x), expected)
            assert np.array_equal(session.predict(x), expected.argmax(axis=1))
            assert session.predict(x).dtype == np.int64


def test_ties_go_to_the_lowest_class(artifact: Artifact, tmp_path: Path, window: Window):
    constants = artifact.constants
    zero = dataclasses.replace(constants, weights=np.zeros_like(constants.weights), bias=np.zeros_like(constants.bias))
    write(tmp_path / "zero.cal", dataclasses.replace(artifact, constants=zero))
    with Session.open(tmp_path / "zero.cal") as session:
        assert not session.predict(window[0]).any()


def test_it_learns_and_every_version_can_be_restored(
    artifact: Artifact, artifact_path: Path, tmp_path: Path, build_window: Callable[..., Window]
):
    state = tmp_path / "s.db"
    with opened(artifact_path, state) as (session, parts):
        x, y = build_window(artifact, seed=99)
        accuracy = (session.predict(x) == y).mean()
        reports = learn(session, artifact, build_window)
        committed = [r for r in reports if r.decision == "committed"]
        assert (session.predict(x) == y).mean() > accuracy + 0.2
        assert [v.number for v in session.versions()] == list(range(len(committed) + 1))
        assert session.version.number == reports[-1].version
        assert sha(parts) == session.version.weights_sha256
        assert session.version.metrics["accuracy_after"] == committed[-1].accuracy_after
    with opened(artifact_path, state) as (session, parts):
        assert session.version.number == len(committed)
        assert sha(parts) == session.version.weights_sha256
        hashes = [v.weights_sha256 for v in session.versions()]
        for to in (0, 2, len(committed)):
            version = session.rollback(to=to)
            assert version.parent == to
            assert version.decision == "rolled back"
            assert sha(parts) == version.weights_sha256 == hashes[to]
        with pytest.raises(StateError, match=f"0 to {version.number}"):
            session.rollback(to=99)
        assert session.observe(x, y).version >= version.number


def test_the_same_stream_gives_the_same_weights(
    artifact: Artifact, artifact_path: Path, build_window: Callable[..., Window]
):
    hashes = []
    for variant in (variants()[0], variants()[-1]):
        with Session.open(artifact_path, variant=variant) as session:
            learn(session, artifact, build_window, 4)
            hashes.append([v.weights_sha256 for v in session.versions()])
    assert hashes[0] == hashes[1]


def test_windows_without_labels_are_skipped_and_recorded(artifact_path: Path, window: Window):
    x, y = window
    with opened(artifact_path, unlabeled=False) as (session, parts):
        before = sha(parts)
        for labels in (None, np.full(len(y), -1)):
            report = session.observe(x, labels)
            assert (report.decision, report.reason, report.labels) == ("skipped", "no labels", 0)
            assert report.accuracy_before is None
        assert sha(parts) == before
        assert [e.kind for e in parts.store.events()] == ["skipped", "skipped"]


def test_only_labeled_samples_are_learned_from(artifact_path: Path, window: Window, monkeypatch: pytest.MonkeyPatch):
    x, y = window
    y = y.copy()
    y[::2] = -1
    with opened(artifact_path) as (session, parts):
        seen: list[np.ndarray] = []
        update = parts.updater.update

        def spy(engine: Engine, samples: Samples, *rest: object) -> UpdateOutcome:
            seen.append(samples.y)
            return update(engine, samples, *rest)

        monkeypatch.setattr(parts.updater, "update", spy)
        report = session.observe(x, y)
    assert len(seen[0]) == 20 + 9  # so few are all learned from, and the coreset comes along
    assert np.bincount(seen[0][:20], minlength=3).tolist() == np.bincount(y[y >= 0], minlength=3).tolist()
    assert seen[0][20:].tolist() == [*range(3), *range(3), *range(3)]
    assert (report.samples, report.labels) == (40, 20)


@pytest.mark.parametrize("step", ["update", "commit", "after commit"])
def test_an_interrupt_leaves_the_last_committed_version(
    artifact: Artifact,
    artifact_path: Path,
    tmp_path: Path,
    build_window: Callable[..., Window],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
):
    with opened(artifact_path, tmp_path / "s.db") as (session, parts):
        learn(session, artifact, build_window, 4)
        number = session.version.number
        where, name = (parts.updater, "update") if step == "update" else (parts.store, "commit")
        real = getattr(where, name)

        def interrupted(*args: Any, **options: Any) -> None:
            if step != "commit":
                real(*args, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(where, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            learn(session, artifact, build_window)
        monkeypatch.undo()
        assert session.version == parts.store.head()
        assert session.version.number == number + (step == "after commit")
        assert sha(parts) == session.version.weights_sha256
        session.observe(*build_window(artifact, seed=3))


def test_a_rejected_update_is_undone(
    artifact: Artifact, artifact_path: Path, build_window: Callable[..., Window], monkeypatch: pytest.MonkeyPatch
):
    with opened(artifact_path, gate=False) as (session, parts):
        learn(session, artifact, build_window)
        before, number = sha(parts), session.version.number

        def ruin(engine: Engine, samples: Samples, *_: object) -> UpdateOutcome:
            engine.load(engine.parameters.replaced(weights=np.zeros_like(engine.parameters.weights)))
            last = evaluate(engine, samples, artifact.meaning)
            return UpdateOutcome("ruin", 1, 1, 1.0, 0.5, 7, np.zeros(len(samples.y), int), last)

        monkeypatch.setattr(parts.updater, "update", ruin)
        report = session.observe(*build_window(artifact, seed=50))
        assert report.decision == "rejected"
        assert report.reason.startswith("held-back")
        assert report.accuracy_after is not None
        assert report.accuracy_after < report.accuracy_before
        assert report.version == number
        assert sha(parts) == before
        assert parts.store.events()[-1].detail["reason"] == report.reason


def test_a_full_disk_leaves_the_last_committed_version(
    artifact: Artifact, artifact_path: Path, tmp_path: Path, build_window: Callable[..., Window]
):
    with opened(artifact_path, tmp_path / "s.db") as (session, parts):
        connection = parts.store._connection  # private: how many pages a file may have is said to its own connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StateError, match="disk full"):
            learn(session, artifact, build_window, 400)
        assert sha(parts) == session.version.weights_sha256 == parts.store.head().weights_sha256
        x, _ = build_window(artifact)
        assert session.predict(x).shape == (40,)
    with Session.open(artifact_path, tmp_path / "s.db") as session:
        learn(session, artifact, build_window, 2)


def test_budgets(artifact: Artifact, artifact_path: Path, window: Window):
    with pytest.raises(BudgetError, match=r"RAM budget is 100 bytes, the arena alone needs [\d,]+ \([\d,]+ over\)"):
        Session.open(artifact_path, budget=Budget(ram=100))
    with pytest.raises(BudgetError, match=r"RAM budget is 1,000 bytes, the model needs [\d,]+ \([\d,]+ over\)"):
        Session.open(artifact_path, budget=Budget(ram=1000))
    with Session.open(artifact_path, budget=Budget(ram=7000), gate=False) as session:
        session.predict(window[0][:1])
        with pytest.raises(BudgetError, match="with a window of 40 samples"):
            session.observe(*window)
    with pytest.raises(BudgetError, match="storage budget is 4,096 bytes"):
        Session.open(artifact_path, budget=Budget(storage=4096))


def test_bad_windows_change_nothing(artifact_path: Path, window: Window):
    x, y = window
    nan = x.copy()
    nan[3, 1, 2] = np.nan
    with opened(artifact_path) as (session, parts):
        before = sha(parts)
        for bad_x, bad_y, said in [
            (nan, y, r"finite values, got nan at index \(3, 1, 2\)"),
            (x[:, :2], y, "expected 3 channels"),
            (x.astype(complex), y, "dtype complex128"),
            (x[:0], y[:0], "at least 1 sample"),
            (x, y + 1, "classes 0 to 2"),
            (x, y[:-1], "40 samples"),
            (x, y.astype(float), "integers"),
        ]:
            with pytest.raises(DataError, match=said):
                session.observe(bad_x, bad_y)
        assert sha(parts) == before
        assert len(session.versions()) == 1
        assert parts.store.events() == ()


def test_settings_can_be_given(artifact_path: Path, window: Window):
    with Session.open(artifact_path, settings=FlipSettings(form="taps", steps=3)) as session:
        report = session.observe(*window)
    assert (report.updater, report.steps) == ("flip-taps", 3)
    with pytest.raises(DataError, match="pooled"):
        Session.open(artifact_path, settings=FlipSettings(form="guess"))


def test_a_state_belongs_to_its_artifact(artifact_path: Path, tmp_path: Path, build_artifact: Callable[..., Artifact]):
    Session.open(artifact_path, tmp_path / "s.db").close()
    write(tmp_path / "other.cal", build_artifact(seed=1))
    with pytest.raises(StateError, match="expected the state of artifact"):
        Session.open(tmp_path / "other.cal", tmp_path / "s.db")
    with pytest.raises(StateError, match="expected an existing folder"):
        Session.open(artifact_path, tmp_path / "no" / "s.db")
    assert not (tmp_path / "no").exists()


def test_two_sessions_on_one_state_do_not_mix(
    artifact: Artifact, artifact_path: Path, tmp_path: Path, build_window: Callable[..., Window]
):
    state = tmp_path / "s.db"
    with opened(artifact_path, state) as (first, held), opened(artifact_path, state) as (second, also):
        learn(first, artifact, build_window)
        with pytest.raises(StateError, match="to be the latest"):
            second.observe(*build_window(artifact, seed=1))
        assert second.version == first.version
        assert sha(also) == sha(held)
        learn(second, artifact, build_window)


def test_sums_of_small_moves_begin_anew_in_another_session(
    artifact: Artifact, artifact_path: Path, tmp_path: Path, build_window: Callable[..., Window]
):
    settings = FlipSettings(form="accumulated", rate=0.02)
    with Session.open(artifact_path, tmp_path / "s.db", settings=settings) as session:
        reports = learn(session, artifact, build_window)
        assert {report.updater for report in reports if report.decision == "committed"} == {"flip"}
        kept = session.version
    with opened(artifact_path, tmp_path / "s.db", settings=settings) as (session, parts):
        assert session.version == kept
        learn(session, artifact, build_window)
        session.rollback(to=kept.number)
        assert sha(parts) == kept.weights_sha256
        learn(session, artifact, build_window)
        assert sha(parts) == session.version.weights_sha256


def test_asking_changes_nothing_and_knows_its_limits(artifact_path: Path, window: Window):
    x, y = window
    with opened(artifact_path) as (session, parts):
        before = sha(parts)
        asked = session.ask(x, 9)
        assert len(set(asked.tolist())) == 9
        assert sha(parts) == before
        assert session.ask(x, 0).size == 0
        assert sorted(session.ask(x, len(x)).tolist()) == list(range(len(x)))
        labels = np.full(len(y), -1)
        labels[asked] = y[asked]
        assert session.observe(x, labels).labels == 9
        for wrong in (-1, len(x) + 1):
            with pytest.raises(DataError, match=rf"expected 0 to {len(x)} \(the window\), got {wrong}"):
                session.ask(x, wrong)
