"""The coreset and the labels of a session: windows of any size and order, late labels, reopening, forgetting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from calibrant import Budget, Session, write
from calibrant.artifact import Artifact
from calibrant.core.errors import BudgetError, DataError, StateError
from calibrant.core.nibbles import rounded
from calibrant.core.rng import generator
from calibrant.memory import database, samples
from calibrant.memory.replay import ReplayBuffer
from calibrant.session.wiring import Parts
from sessions import opened

Window = tuple[np.ndarray, np.ndarray]
Build = Callable[..., Window]


def pool(parts: Parts) -> ReplayBuffer:
    return parts.deployed.buffer


def same(a: ReplayBuffer, b: ReplayBuffer) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))


def weights(session: Session) -> list[str]:
    return [v.weights_sha256 for v in session.versions()]


def test_it_starts_as_the_artifacts_and_takes_samples_in(artifact: Artifact, artifact_path: Path, build_window: Build):
    with opened(artifact_path, capacity=9) as (session, parts):
        assert np.array_equal(pool(parts).x, artifact.coreset.x)
        report = session.observe(*build_window(artifact))
        assert report.decision == "committed"
        assert (len(pool(parts)), pool(parts).of_source) == (9, 4)  # half of nine
        assert session.version.metrics["coreset"] == 9
        assert session.version.metrics["coreset_source"] == 4


def test_without_upkeep_it_stays(artifact: Artifact, artifact_path: Path, tmp_path: Path, build_window: Build):
    with opened(artifact_path, tmp_path / "s.db", upkeep=False) as (session, parts):
        before = pool(parts)
        for seed in range(3):
            session.observe(*build_window(artifact, seed=seed))
        assert same(pool(parts), before)
    with closing(database.connect(tmp_path / "s.db", False)) as state:
        assert state.execute("SELECT count(*) FROM sample").fetchone() == (0,)


def test_more_room_is_filled_first(artifact: Artifact, artifact_path: Path, tmp_path: Path, build_window: Build):
    with opened(artifact_path, tmp_path / "s.db", capacity=30, gate=False) as (session, parts):
        session.observe(*build_window(artifact, n=6, seed=1))
        assert (len(pool(parts)), pool(parts).of_source) == (15, 9)
        session.observe(*build_window(artifact, n=40, seed=2))
        assert (len(pool(parts)), pool(parts).of_source) == (30, 9)
        held = pool(parts)
    with opened(artifact_path, tmp_path / "s.db", capacity=30, gate=False) as (session, parts):
        assert same(pool(parts), held)
    with opened(artifact_path, tmp_path / "s.db", capacity=8) as (session, parts):
        assert (len(pool(parts)), pool(parts).of_source) == (8, 4)
    for wrong in (0, -3):
        with pytest.raises(DataError, match=f"expected at least 1 sample, got {wrong}"):
            Session.open(artifact_path, capacity=wrong)


@pytest.mark.parametrize("bits", [8, 4])
def test_reopening_changes_nothing(artifact: Artifact, tmp_path: Path, build_window: Build, bits: int):
    kept = (
        artifact.coreset if bits == 8 else dataclasses.replace(artifact.coreset, x=rounded(artifact.coreset.x), bits=4)
    )
    path = tmp_path / "a.cal"
    write(path, dataclasses.replace(artifact, coreset=kept))
    with opened(path, tmp_path / "through.db", capacity=20) as (session, parts):
        for seed in range(5):
            session.observe(*build_window(artifact, seed=seed))
        whole, through = pool(parts), weights(session)
        assert np.array_equal(rounded(whole.x), whole.x) == (bits == 4)
    for seed in range(5):
        with opened(path, tmp_path / "again.db", capacity=20) as (session, parts):
            session.observe(*build_window(artifact, seed=seed))
            held, again = pool(parts), weights(session)
    assert same(held, whole)
    assert again == through


@pytest.mark.parametrize("n", [1, 7, 40, 500])
def test_windows_of_any_size_in_any_order(artifact: Artifact, artifact_path: Path, build_window: Build, n: int):
    x, y = build_window(artifact, n=n)
    order = generator(0, "order").permutation(n)
    pools, versions = [], []
    for index in (np.arange(n), order):
        with opened(artifact_path, capacity=12, gate=False) as (session, parts):
            report = session.observe(x[index], y[index])
            assert (report.samples, report.labels) == (n, n)
            pools.append(pool(parts))
            versions.append(weights(session))
    assert same(*pools)
    assert versions[0] == versions[1]
    assert len(pools[0]) == min(12, 9 + n)


def test_a_stream_of_single_samples_teaches(artifact: Artifact, artifact_path: Path, build_window: Build):
    x, y = build_window(artifact, n=60, seed=3)
    later, truth = build_window(artifact, n=200, seed=4)
    with opened(artifact_path, capacity=24, gate=False) as (session, parts):
        before = (session.predict(later) == truth).mean()
        for i in range(60):
            session.observe(x[i : i + 1], y[i : i + 1])
        assert (session.predict(later) == truth).mean() > before + 0.2
        assert (len(pool(parts)), pool(parts).of_source) == (24, 9)


def test_a_window_of_one_class_does_not_drive_the_others_out(
    artifact: Artifact, artifact_path: Path, build_window: Build
):
    x, y = build_window(artifact, n=90)
    with opened(artifact_path) as (session, parts):
        for start in (0, 30, 60):
            some = slice(start, start + 30)
            only = np.where(y[some] == 1, 1, -1)
            assert session.observe(x[some], only).labels == np.count_nonzero(only == 1)
        assert set(pool(parts).y.tolist()) == {0, 1, 2}


def test_a_class_that_was_never_trained(artifact: Artifact, tmp_path: Path, build_window: Build):
    known = artifact.coreset.y != 1
    partial = dataclasses.replace(artifact.coreset, x=artifact.coreset.x[known], y=artifact.coreset.y[known])
    write(tmp_path / "partial.cal", dataclasses.replace(artifact, coreset=partial))
    x, y = build_window(artifact, n=200)
    with opened(tmp_path / "partial.cal") as (session, parts):
        learned = (session.predict(x)[y == 1] == 1).mean()
        for start in range(0, 200, 20):
            session.observe(x[start : start + 20], y[start : start + 20])
        assert 1 in pool(parts).y
        assert (session.predict(x)[y == 1] == 1).mean() > learned + 0.4
        before = weights(session)
        with pytest.raises(DataError, match="expected classes 0 to 2 or -1 for unlabeled, got 3 at index 4"):
            session.observe(x[:5], np.array([0, 1, 2, -1, 3]))
        assert weights(session) == before


def test_labels_are_kept_even_where_weights_are_not(
    artifact: Artifact, tmp_path: Path, build_window: Build, monkeypatch: pytest.MonkeyPatch
):
    strict = dataclasses.replace(artifact, thresholds={"coreset_drop": 0.0, "holdout": 0.15})
    write(tmp_path / "strict.cal", strict)
    with opened(tmp_path / "strict.cal", tmp_path / "s.db", capacity=9) as (session, parts):
        monkeypatch.setattr("calibrant.session.supervised.verdict", lambda *_: "refused by the test")
        report = session.observe(*build_window(artifact))
        assert (report.decision, report.reason) == ("rejected", "refused by the test")
        assert session.version.number == 0
        assert pool(parts).of_source < 9
        held = pool(parts)
    with opened(tmp_path / "strict.cal", tmp_path / "s.db", capacity=9) as (session, parts):
        assert same(pool(parts), held)


def test_what_is_learned_already_takes_no_place(artifact: Artifact, tmp_path: Path, build_window: Build):
    easy = dataclasses.replace(artifact, settings=dataclasses.replace(artifact.settings, loss_goal=50.0))
    write(tmp_path / "easy.cal", easy)
    with opened(tmp_path / "easy.cal", capacity=9) as (session, parts):
        before = pool(parts)
        report = session.observe(*build_window(artifact))
        assert (report.decision, report.reason) == ("skipped", "already learned")
        assert same(pool(parts), before)
    with opened(tmp_path / "easy.cal", capacity=15) as (session, parts):
        session.observe(*build_window(artifact))
        assert len(pool(parts)) == 15  # free room is filled all the same


def test_late_labels_teach_what_they_would_have_taught(
    artifact: Artifact, artifact_path: Path, tmp_path: Path, build_window: Build
):
    x, y = build_window(artifact)
    with Session.open(artifact_path) as session:
        direct = session.observe(x, y)
        expected = weights(session)
    with Session.open(artifact_path, tmp_path / "s.db") as session:
        ticket = session.defer(x)
        other = session.defer(x[:5])
        assert ticket != other
        assert session.version.number == 0
    with opened(artifact_path, tmp_path / "s.db") as (session, parts):
        late = session.label(ticket, y)
        assert weights(session) == expected
        assert dataclasses.replace(late, milliseconds=0) == dataclasses.replace(direct, milliseconds=0)
        with pytest.raises(StateError, match=f"ticket {ticket}: expected a waiting window, got one labeled before"):
            session.label(ticket, y)
        with pytest.raises(StateError, match="unknown"):
            session.label(77, y)
        with pytest.raises(DataError, match="5 samples"):
            session.label(other, y)
        assert session.label(other, np.full(5, -1)).labels == 0  # the ticket is used up
        with pytest.raises(StateError, match="labeled before"):
            session.label(other, y[:5])
        assert [e.kind for e in parts.store.events()][:3] == ["deferred", "deferred", "committed"]


def test_an_expired_ticket(artifact_path: Path, window: Window, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samples, "MAX_DEFERRED", 2)
    x, y = window
    with Session.open(artifact_path) as session:
        first = session.defer(x)
        session.defer(x)
        session.defer(x)
        with pytest.raises(StateError, match="dropped for newer ones"):
            session.label(first, y)
        with pytest.raises(DataError, match="expected 3 channels"):
            session.defer(x[:, :2])


def test_an_interrupted_label_leaves_the_window(artifact_path: Path, window: Window, monkeypatch: pytest.MonkeyPatch):
    x, y = window
    with opened(artifact_path) as (session, parts):
        ticket = session.defer(x)

        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(parts.updater, "update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.label(ticket, y)
        monkeypatch.undo()
        assert session.label(ticket, y).decision == "committed"


def test_rollback_keeps_the_coreset_and_forget_resets_it(
    artifact: Artifact, artifact_path: Path, tmp_path: Path, build_window: Build
):
    with opened(artifact_path, tmp_path / "s.db") as (session, parts):
        start = pool(parts)
        for seed in range(3):
            session.observe(*build_window(artifact, seed=seed))
        held, ticket = pool(parts), session.defer(build_window(artifact)[0])
        session.rollback(to=0)
        assert same(pool(parts), held)
        number = session.version.number
        assert session.forget() == len(held) - held.of_source
        assert same(pool(parts), start)
        assert session.version.number == number  # weights are another matter
        with pytest.raises(StateError):
            session.label(ticket, np.zeros(40, int))
        session.observe(*build_window(artifact, seed=7))
    with Session.open(artifact_path, tmp_path / "s.db") as session:
        assert session.forget() > 0
    with opened(artifact_path, tmp_path / "s.db") as (session, parts):
        assert same(pool(parts), start)


def test_a_coreset_changed_by_another_session_is_taken_over(
    artifact: Artifact, artifact_path: Path, tmp_path: Path, build_window: Build, monkeypatch: pytest.MonkeyPatch
):
    state = tmp_path / "s.db"
    with opened(artifact_path, state) as (first, held), opened(artifact_path, state) as (second, also):
        monkeypatch.setattr("calibrant.session.supervised.verdict", lambda *_: "refused by the test")
        first.observe(*build_window(artifact, seed=1))
        with pytest.raises(StateError, match="newer one"):
            second.observe(*build_window(artifact, seed=2))
        assert same(pool(held), pool(also))
        second.observe(*build_window(artifact, seed=2))


def test_the_ram_budget_counts_the_coreset(artifact: Artifact, artifact_path: Path):
    def smallest(capacity: int, n: int) -> int:
        low, high = 0, 10**6
        while high - low > 1:
            ram = (low + high) // 2
            try:
                with Session.open(artifact_path, budget=Budget(ram=ram), capacity=capacity, gate=False) as session:
                    session.predict(np.zeros((n, 3, 8)))
                high = ram
            except BudgetError:
                low = ram
        return high

    sample = 3 * 8
    statistics = 4 * (artifact.program.channel_count + artifact.program.pooled_count + 3)
    assert smallest(10, 1) - smallest(9, 1) == sample + 40 + statistics + sample + statistics
    assert smallest(9, 2) - smallest(9, 1) == 2 * sample + statistics
