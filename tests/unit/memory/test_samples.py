"""Samples in the state: written once, read as untrusted, deletable; windows that wait for labels."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibrant.core.errors import BudgetError, StateError
from calibrant.core.nibbles import rounded
from calibrant.core.rng import generator
from calibrant.core.statistics import Coreset
from calibrant.memory import database, samples
from calibrant.memory.replay import ReplayBuffer, resample
from calibrant.memory.store import Entry, Store

SHAPE = (1, 6, 3)
CLASSES = 4
MARKS = {"artifact": "a" * 64, "base_sha256": "b" * 64, "create": True}


def codes(n: int, seed: int) -> np.ndarray:
    return generator(seed, "codes").integers(-128, 128, (n, *SHAPE)).astype(np.int8)


BASE = Coreset(codes(5, 0), np.arange(5, dtype=np.int64) % CLASSES)


def grown(pool: ReplayBuffer, seed: int, n: int = 4, capacity: int = 8) -> ReplayBuffer:
    """The pool after a window of `n` samples."""
    y = generator(seed, "labels").integers(0, CLASSES, n).astype(np.int64)
    return resample(pool, pool.of_stream(codes(n, seed), y, version=0), capacity, 0.5)


def same(a: ReplayBuffer, b: ReplayBuffer) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))


def file_with(path: Path, base: Coreset = BASE, windows: int = 2) -> ReplayBuffer:
    with Store.open(path, **MARKS) as store:
        pool = store.coreset(base, CLASSES)
        for seed in range(1, windows + 1):
            pool = grown(pool, seed)
            store.record("rejected", Entry(coreset=pool))
        store.defer(codes(3, 9))
    return pool


def tamper(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("bits", [8, 4])
@given(n=st.integers(0, 5), shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 3)), data=st.data())
def test_samples_round_trip(bits: int, n: int, shape: tuple[int, int, int], data: st.DataObject):
    x = data.draw(hnp.arrays(np.int8, (n, *shape), elements=st.integers(-128, 127)))
    kept = rounded(x) if bits == 4 else x
    assert np.array_equal(samples.decode(samples.encode(kept, bits), n, shape, "here"), kept)


@given(st.binary(max_size=60), st.integers(0, 4), st.booleans())
def test_any_bytes_are_refused_in_one_line(data: bytes, n: int, marked: bool):
    with pytest.raises(StateError, match=r"^here: expected") as error:
        samples.decode(b"\x04" + data if marked else data, n, SHAPE, "here")
    assert "\n" not in str(error.value)


def test_a_bomb_is_not_unpacked():
    bomb = samples.encode(np.zeros((10**6, *SHAPE), np.int8), 8)
    with pytest.raises(StateError, match="expected 18 bytes of samples, got 19"):
        samples.decode(bomb, 1, SHAPE, "here")


@pytest.mark.parametrize("bits", [8, 4])
def test_a_coreset_is_read_as_it_was_written(tmp_path: Path, bits: int):
    base = Coreset(rounded(BASE.x) if bits == 4 else BASE.x, BASE.y, bits)
    pool = file_with(tmp_path / "s.db", base, windows=5)
    assert 0 < pool.of_source < len(pool)
    with Store.open(tmp_path / "s.db", artifact="a" * 64) as store:
        assert same(store.coreset(base, CLASSES), pool)


def test_until_it_is_redrawn_the_coreset_is_the_artifacts():
    with Store.open(None, **MARKS) as store:
        assert same(store.coreset(BASE, CLASSES), ReplayBuffer.of(BASE))
        store.record("skipped", Entry(coreset=ReplayBuffer.of(BASE)))
        assert same(store.coreset(BASE, CLASSES), ReplayBuffer.of(BASE))


def test_only_what_changed_is_written():
    with Store.open(None, **MARKS) as store:
        pool = grown(store.coreset(BASE, CLASSES), 1)
        store.record("rejected", Entry(coreset=pool))
        written: list[str] = []
        connection = store._connection  # private: what is written is seen by the connection that writes it alone
        connection.set_trace_callback(written.append)
        store.record("rejected", Entry(coreset=pool))
        assert not [s for s in written if "sample" in s or "codes" in s]
        written.clear()
        store.record("rejected", Entry(coreset=replace(pool, misses=pool.misses + np.arange(len(pool)))))
        assert len([s for s in written if s.startswith("UPDATE sample")]) == len(pool) - 1
        assert not [s for s in written if "codes" in s]
        written.clear()
        newer = grown(pool, 2, n=1, capacity=9)
        assert len(newer) == len(pool) + 1
        store.record("rejected", Entry(coreset=newer))
        assert len([s for s in written if s.startswith("INSERT INTO codes")]) == 1
        assert connection.execute("SELECT count(*) FROM codes").fetchone() == (len(newer) - newer.of_source,)


def test_a_coreset_that_an_updater_without_scores_redraws_is_read_again():
    with Store.open(None, **MARKS) as store:
        pool = grown(store.coreset(BASE, CLASSES, CLASSES), 1)
        store.record("rejected", Entry(coreset=replace(pool, scores=np.ones_like(pool.scores))))
        plain = store.coreset(BASE, CLASSES)
        assert plain.scores.size == 0
        store.record("rejected", Entry(coreset=plain))
        assert same(store.coreset(BASE, CLASSES), plain)
        assert np.isnan(store.coreset(BASE, CLASSES, CLASSES).scores).all()


def test_codes_of_samples_that_leave_are_deleted(tmp_path: Path):
    path = tmp_path / "s.db"
    with Store.open(path, **MARKS) as store, closing(database.connect(path, False)) as state:
        pool = store.coreset(BASE, CLASSES)
        for seed in range(1, 9):
            pool = grown(pool, seed)
            store.record("rejected", Entry(coreset=pool))
        held = {i for (i,) in state.execute("SELECT sample FROM codes")}
        assert held == set(pool.id[~pool.source].tolist())


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM codes", "expected codes, got none"),
        ("UPDATE codes SET payload = x'08'", "bytes of samples"),
        ("UPDATE codes SET payload = x'0801020304'", "damaged bytes"),
        ("UPDATE codes SET payload = 'text'", "expected packed samples"),
        ("UPDATE codes SET payload = x'FF' || payload", "expected packed samples"),
        (
            "UPDATE codes SET payload = (SELECT payload FROM codes ORDER BY sample LIMIT 1)",
            "expected codes of that hash",
        ),
        ("UPDATE sample SET label = 4 WHERE source = 0", "expected label from 0 to 3, got 4"),
        ("UPDATE sample SET label = -1 WHERE source = 1", "expected label from 0 to 3, got -1"),
        ("UPDATE sample SET label = 'cat'", "expected label from 0 to 3, got 'cat'"),
        ("UPDATE sample SET label = (label + 1) % 4", "others (state is damaged)"),
        ("UPDATE sample SET misses = -9", "expected misses from -3"),
        ("UPDATE sample SET misses = misses + 1", "others (state is damaged)"),
        ("UPDATE sample SET misses = 1.5", "expected misses"),
        ("UPDATE sample SET source = 2", "expected source from 0 to 1"),
        ("UPDATE sample SET source = 1 - source", "others (state is damaged)"),
        ("UPDATE sample SET version = -1", "expected version"),
        ("DELETE FROM sample WHERE id = (SELECT max(id) FROM sample)", "others (state is damaged)"),
        ("DELETE FROM sample", "got 0 others"),
        ("INSERT INTO sample VALUES (7, 1, 0, 0, 0)", "others (state is damaged)"),
        ("DELETE FROM meta WHERE key = 'coreset'", "SHA-256 of none"),
        ("UPDATE meta SET value = 'x' WHERE key = 'coreset'", "SHA-256 x"),
        ("DROP TABLE sample", "no such table"),
        ("DROP TABLE codes", "no such table"),
    ],
)
def test_a_tampered_coreset_is_noticed(tmp_path: Path, statement: str, said: str):
    path = tmp_path / "s.db"
    file_with(path)
    tamper(path, statement)
    with Store.open(path) as store, pytest.raises(StateError) as error:
        store.coreset(BASE, CLASSES)
    assert said in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_consistent_lie_about_the_artifacts_samples_is_noticed(tmp_path: Path):
    path = tmp_path / "s.db"
    file_with(path)
    other = Coreset(codes(5, 77), BASE.y)
    with Store.open(path) as store, pytest.raises(StateError, match="another coreset"):
        store.coreset(other, CLASSES)


def test_random_damage_is_an_error_or_harmless(tmp_path: Path):
    path = tmp_path / "s.db"
    pool = file_with(path, windows=4)
    good, refused = path.read_bytes(), 0
    rng = generator(0, "damage")
    for _ in range(120):
        raw = bytearray(good)
        at = int(rng.integers(0, len(raw) - 64))
        raw[at : at + 64] = rng.bytes(64)
        path.write_bytes(raw)
        try:
            with Store.open(path, artifact="a" * 64) as store:
                assert same(store.coreset(BASE, CLASSES), pool)
                assert np.array_equal(store.deferred(1, SHAPE), codes(3, 9))
        except StateError:
            refused += 1
    assert refused > 0


def test_two_stores_do_not_overwrite_each_other(tmp_path: Path):
    with Store.open(tmp_path / "s.db", **MARKS) as first, Store.open(tmp_path / "s.db", **MARKS) as second:
        mine, theirs = (grown(s.coreset(BASE, CLASSES), seed) for s, seed in ((first, 1), (second, 2)))
        first.record("rejected", Entry(coreset=mine))
        with pytest.raises(StateError, match="got a newer one"):
            second.record("rejected", Entry(coreset=theirs))
        assert same(second.coreset(BASE, CLASSES), mine)
        second.record("rejected", Entry(coreset=grown(mine, 3)))


def test_a_state_of_the_first_release_is_given_what_it_lacks(tmp_path: Path):
    path = tmp_path / "s.db"
    with Store.open(path, **MARKS) as store:
        store.record("skipped", Entry())
    tables = ("codes", "remembered", "sample", "deferred", "policy")
    tamper(path, *(f"DROP TABLE {name}" for name in tables), "ALTER TABLE version DROP COLUMN vouched")
    tamper(path, "PRAGMA user_version = 1")
    with Store.open(path, **MARKS) as store:
        assert [e.kind for e in store.events()] == ["skipped"]
        pool = grown(store.coreset(BASE, CLASSES), 1)
        store.record("rejected", Entry(coreset=pool))
        assert store.defer(codes(1, 1)) == 1
    with Store.open(path) as store:
        assert same(store.coreset(BASE, CLASSES), pool)


def test_windows_wait_and_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(samples, "MAX_DEFERRED", 3)
    with Store.open(tmp_path / "s.db", **MARKS) as store:
        tickets = [store.defer(codes(n, n)) for n in range(1, 6)]
        assert tickets == [1, 2, 3, 4, 5]
        assert [e.detail["dropped"] for e in store.events()] == [0, 0, 0, 1, 1]
    with Store.open(tmp_path / "s.db") as store:
        for ticket in (3, 4, 5):
            assert np.array_equal(store.deferred(ticket, SHAPE), codes(ticket, ticket))
        for ticket in (1, 2):
            with pytest.raises(StateError, match=f"ticket {ticket}: expected a waiting window, got one labeled before"):
                store.deferred(ticket, SHAPE)
        for ticket in (0, -1, 6, 2**70):
            with pytest.raises(StateError, match="unknown"):
                store.deferred(ticket, SHAPE)
        store.record("skipped", Entry(ticket=4))
        with pytest.raises(StateError, match="labeled before"):
            store.deferred(4, SHAPE)
        assert store.defer(codes(1, 1)) == 6  # a number is never given twice


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE deferred SET samples = 4", "expected 72 bytes of samples, got 54"),
        ("UPDATE deferred SET samples = 0", "expected a number of samples, got 0"),
        ("UPDATE deferred SET samples = 'many'", "expected a number of samples, got 'many'"),
        ("UPDATE deferred SET payload = x''", "expected packed samples"),
        ("UPDATE sqlite_sequence SET seq = 'x'", None),
    ],
)
def test_a_tampered_window_is_noticed(tmp_path: Path, statement: str, said: str | None):
    file_with(tmp_path / "s.db")
    tamper(tmp_path / "s.db", statement)
    with Store.open(tmp_path / "s.db") as store, pytest.raises(StateError, match=said or "unknown"):
        store.deferred(1 if said else 5, SHAPE)


def test_what_is_forgotten_leaves_no_bytes(tmp_path: Path):
    path = tmp_path / "s.db"
    pool = file_with(path, windows=5)
    gone = [samples.encode(codes(4, seed)[i : i + 1], 8) for seed in range(1, 6) for i in range(4)]
    known = [samples.encode(pool.x[i : i + 1], 8) for i in np.flatnonzero(~pool.source)]
    waiting = samples.encode(codes(3, 9), 8)
    with Store.open(path, **MARKS) as store:
        before = path.read_bytes()
        assert all(code in before for code in [*known, waiting])
        assert store.forget() == len(known)
        everything = b"".join(p.read_bytes() for p in sorted(tmp_path.iterdir()))
        assert not [code for code in [*known, waiting] if code in everything or code[-16:] in everything]
        assert not [code for code in gone if code[-16:] in everything]  # nor those that had left before
        assert same(store.coreset(BASE, CLASSES), ReplayBuffer.of(BASE))
        assert store.events()[-1].detail == {"samples": len(known), "windows": 1}
        with pytest.raises(StateError, match="labeled before or dropped"):
            store.deferred(1, SHAPE)
        store.record("rejected", Entry(coreset=grown(ReplayBuffer.of(BASE), 3)))
        assert store.forget() == 3
        assert store.forget() == 0


def test_forgetting_beside_a_reader_says_that_bytes_remain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from calibrant.memory import database

    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    file_with(tmp_path / "s.db")
    with Store.open(tmp_path / "s.db") as store:
        reader = sqlite3.connect(tmp_path / "s.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sample").fetchone()
        with pytest.raises(StateError, match="bytes could not be overwritten"):
            store.forget()
        reader.execute("ROLLBACK")
        reader.close()
        assert len(store.coreset(BASE, CLASSES)) == 5
        assert store.forget() == 0


def test_samples_count_against_the_storage_budget():
    with Store.open(None, **MARKS, storage=60_000) as store:
        pool = store.coreset(BASE, CLASSES)
        big = pool.of_stream(codes(2000, 1), np.zeros(2000, np.int64), 0)
        with pytest.raises(BudgetError, match="over"):
            store.record("rejected", Entry(coreset=resample(pool, big, 2000, 0.5)))
        assert same(store.coreset(BASE, CLASSES), pool)
        with pytest.raises(BudgetError, match="over"):
            store.defer(codes(4000, 1))
        assert store.events() == ()
