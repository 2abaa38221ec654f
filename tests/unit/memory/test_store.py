"""The state database against a plain list, and its refusals."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from calibrant.core.errors import BudgetError, StateError
from calibrant.core.parameters import KINDS, Parameters
from calibrant.core.rng import generator
from calibrant.memory import database, delta_chain, events
from calibrant.memory.delta import difference
from calibrant.memory.store import Entry, Store

COUNT, CHANNELS = 20, 4
SIZES = {"weight": COUNT, "channel": CHANNELS}
BASE = Parameters(**{kind.name: np.arange(SIZES[kind.each], dtype=kind.dtype) for kind in KINDS})
ARTIFACT = "a" * 64


def open_store(path: Path | None, **options: object) -> Store:
    options = {"artifact": ARTIFACT, "base_sha256": BASE.sha256, "create": True} | options
    return Store.open(path, **options)


def changed(parameters: Parameters, seed: int) -> Parameters:
    rng = generator(seed, "changed")
    weights, bias = parameters.weights.copy(), parameters.bias.copy()
    weights[rng.integers(0, COUNT, 3)] = rng.integers(-128, 128, 3)
    bias[rng.integers(0, CHANNELS)] = rng.integers(-(2**31), 2**31)
    return parameters.replaced(weights=weights, bias=bias)


def commit(store: Store, old: Parameters, new: Parameters, parent: int, **metrics: object) -> object:
    entry = Entry(facts=metrics)
    delta = difference(old, new)
    return store.commit(delta, entry, parent=parent, sha256=new.sha256, updater="flip", vouched=True)


class AgainstAList(RuleBasedStateMachine):
    """Whatever is done, version n is the n-th entry of a list, also after reopening the file."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.versions: list[Parameters] = [BASE]
        self.parents: list[int | None] = [None]
        self.events: list[str] = []

    @initialize()
    def start(self) -> None:
        self.store = open_store(self.folder / "s.db")

    @rule(seed=st.integers(0, 10**6), times=st.integers(1, 12))
    def commit(self, seed: int, times: int) -> None:
        for i in range(times):
            new = changed(self.versions[-1], seed + i)
            version = commit(self.store, self.versions[-1], new, len(self.versions) - 1, seed=seed)
            assert version == self.store.head()
            self.parents.append(len(self.versions) - 1)
            self.versions.append(new)
            self.events.append("committed")

    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        to = data.draw(st.integers(0, len(self.versions) - 1))
        version = self.store.rollback(to)
        assert version.flips == np.count_nonzero(self.versions[-1].weights != self.versions[to].weights)
        self.parents.append(to)
        self.versions.append(self.versions[to])
        self.events.append("rolled back")

    @rule()
    def reject(self) -> None:
        self.store.record("rejected", Entry({"reason": "test"}))
        self.events.append("rejected")

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = open_store(self.folder / "s.db")

    @precondition(lambda self: len(self.versions) > 1)
    @rule(seed=st.integers(0, 100))
    def commit_on_an_old_version(self, seed: int) -> None:
        new = changed(self.versions[0], seed)
        with pytest.raises(StateError, match="to be the latest"):
            commit(self.store, self.versions[0], new, 0)

    @invariant()
    def same_history(self) -> None:
        rows = self.store.versions()
        assert [v.number for v in rows] == list(range(len(self.versions)))
        assert [v.parent for v in rows] == self.parents
        assert [v.weights_sha256 for v in rows] == [v.sha256 for v in self.versions]
        assert [e.kind for e in self.store.events()] == self.events
        for number in {0, len(self.versions) // 2, len(self.versions) - 1}:
            assert self.store.parameters_at(number, BASE) == self.versions[number]

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


TestAgainstAList = AgainstAList.TestCase
TestAgainstAList.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)


def test_replay_stays_short_however_long_the_history(tmp_path: Path):
    path = tmp_path / "s.db"
    with open_store(path) as store, closing(database.connect(path, False)) as state:
        history = [BASE]
        for i in range(3 * delta_chain.MAX_CHAIN):
            history.append(changed(history[-1], i))
            commit(store, history[-2], history[-1], i)
        lengths = [len(delta_chain.read(state, "state", n)) for n in range(len(history))]
        assert max(lengths) == delta_chain.MAX_CHAIN
        assert all(store.parameters_at(n, BASE) == history[n] for n in range(len(history)))


def test_events_do_not_grow_without_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "MAX_EVENTS", 5)
    with open_store(None) as store:
        for i in range(20):
            store.record("skipped", Entry({"i": i}))
        assert [e.detail["i"] for e in store.events()] == [15, 16, 17, 18, 19]


def test_unknown_versions_name_the_range():
    with open_store(None) as store:
        commit(store, BASE, changed(BASE, 1), 0)
        for number in (-1, 2, 2**70):
            with pytest.raises(StateError, match=f"expected a version from 0 to 1, got {number}"):
                store.parameters_at(number, BASE)
            with pytest.raises(StateError, match="0 to 1"):
                store.rollback(number)


def test_what_is_no_state_is_refused(tmp_path: Path):
    text, other, empty = tmp_path / "text", tmp_path / "other.db", tmp_path / "empty.db"
    text.write_text("not a database, but long enough to look at " * 40)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE version (number)")
    connection.close()
    empty.touch()
    for path, create, said in [
        (tmp_path / "no" / "s.db", True, "expected an existing folder"),
        (tmp_path, True, "got a folder"),
        (tmp_path / "none.db", False, "no such file"),
        (text, True, "not an SQLite database"),
        (other, True, "another program"),
        (empty, False, "empty file"),
    ]:
        with pytest.raises(StateError, match=said) as error:
            open_store(path, create=create)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["empty.db", "other.db", "text"]


def test_an_empty_file_becomes_a_state(tmp_path: Path):
    (tmp_path / "s.db").touch()
    with open_store(tmp_path / "s.db") as store:
        assert store.head().number == 0


def test_a_newer_state_and_one_of_another_artifact_are_refused(tmp_path: Path):
    path = tmp_path / "s.db"
    open_store(path).close()
    with pytest.raises(StateError, match="expected the state of artifact bbbb"):
        open_store(path, artifact="b" * 64)
    with Store.open(path) as store:  # who only looks at the history needs no artifact
        assert len(store.versions()) == 1
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(StateError, match="expected state version 3, got 9"):
        open_store(path)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE version SET weights_sha256 = 'x' WHERE number = 1", "damaged"),
        ("UPDATE delta SET payload = x'00'", "expected a delta"),
        ("UPDATE delta SET payload = 'text'", "expected a row"),
        ("UPDATE delta SET origin = 1", "earlier origin"),
        ("DELETE FROM delta", "expected a row"),
        ("UPDATE version SET metrics = '[1'", "JSON object"),
        ("DELETE FROM meta", "damaged"),
        ("DROP TABLE event", "no such table"),
    ],
)
def test_a_tampered_state_is_noticed(tmp_path: Path, statement: str, said: str):
    path = tmp_path / "s.db"
    with open_store(path) as store:
        commit(store, BASE, changed(BASE, 1), 0)
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()

    def look() -> None:
        with open_store(path) as store:
            store.parameters_at(1, BASE)
            store.events()

    with pytest.raises(StateError, match=said):
        look()


def test_random_damage_to_the_file_is_an_error_or_harmless(tmp_path: Path):
    path = tmp_path / "s.db"
    history = [BASE]
    with open_store(path) as store:
        for i in range(5):
            history.append(changed(history[-1], i))
            commit(store, history[-2], history[-1], i)
    good = path.read_bytes()
    rng = generator(0, "damage")
    refused = 0
    for _ in range(150):
        raw = bytearray(good)
        at = int(rng.integers(0, len(raw) - 64))
        raw[at : at + 64] = rng.integers(0, 256, 64).astype(np.uint8).tobytes()
        path.write_bytes(raw)
        try:
            with open_store(path) as store:
                for version in store.versions():
                    parameters = store.parameters_at(version.number, BASE)
                    assert parameters.sha256 == version.weights_sha256
        except StateError:
            refused += 1
    assert refused > 0


def test_a_full_disk_changes_nothing(tmp_path: Path):
    with open_store(tmp_path / "s.db") as store:
        rng = generator(0, "noise")
        commit(store, BASE, changed(BASE, 1), 0)
        connection = store._connection  # private: how many pages a file may have is said to its own connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        noise = rng.bytes(20_000).hex()
        with pytest.raises(StateError, match="disk full"):
            commit(store, changed(BASE, 1), changed(BASE, 2), 1, noise=noise)
        with pytest.raises(StateError, match="disk full"):
            store.record("skipped", Entry({"noise": noise}))
        assert store.head().number == 1
        assert store.parameters_at(1, BASE) == changed(BASE, 1)
        connection.execute("PRAGMA max_page_count = 100000")
        assert commit(store, changed(BASE, 1), changed(BASE, 2), 1).number == 2


def test_the_storage_budget_says_by_how_much():
    with pytest.raises(BudgetError, match=r"storage budget is 1,000 bytes.*over"):
        open_store(None, storage=1000)
    with open_store(None, storage=60_000) as store:
        noise = generator(0, "noise").bytes(40_000).hex()
        with pytest.raises(BudgetError, match="over"):
            commit(store, BASE, changed(BASE, 1), 0, noise=noise)
        assert store.head().number == 0
        commit(store, BASE, changed(BASE, 1), 0)


def test_another_process_holding_the_lock_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    path = tmp_path / "s.db"
    with open_store(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="in use by another process"):
            commit(store, BASE, changed(BASE, 1), 0)
        assert [v.number for v in store.versions()] == [0]
        other.execute("ROLLBACK")
        other.close()
        commit(store, BASE, changed(BASE, 1), 0)


def test_a_closed_store_says_so():
    store = open_store(None)
    store.close()
    with pytest.raises(StateError, match="closed"):
        store.versions()
