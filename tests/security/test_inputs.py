"""No file, however it is made, gives more than one line and status 2; no array is read as something that it is not.

Attacks before: a masked reading was taken for its filler; `predict` ended in numpy's traceback at labels of text; a
bomb of a kilobyte took megabytes; damaged rows of a state ended `log` in a traceback; a data file that could not be
read was "damaged".
"""

from __future__ import annotations

import io
import itertools
import shutil
import sqlite3
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from artifacts import make_artifact, make_window
from calibrant import Session
from calibrant.artifact import write
from calibrant.cli import app
from calibrant.core.errors import DataError, StateError
from calibrant.core.window import check_window
from calibrant.memory import database


def refused(*arguments: object, status: int = 2) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == status, (result.exit_code, result.output, result.exception)
    assert status == 0 or result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact, and a state that has learned."""
    place, held = tmp_path_factory.mktemp("inputs"), make_artifact()
    write(place / "m.cal", held)
    x, y = make_window(held, 40)
    np.savez(place / "good.npz", x=x, y=y)
    with Session.open(place / "m.cal", state=place / "s.db") as session:
        session.observe(x, y)
        session.defer(x[:4])
        session.rollback(0)
    return place


def good() -> np.ndarray:
    return np.zeros((40, 3, 8), np.float32)


def member(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


HEADERS = {
    "more than there is": "{'descr': '<f4', 'fortran_order': False, 'shape': (40, 3, 8)}",
    "enormous": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}",
    "beyond int64": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 30 + ",)}",
    "beyond int64 in two": "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387905, 4)}",
    "negative": "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
    "no digits": "{'descr': '<f4', 'fortran_order': False, 'shape': ('a',)}",
    "code": "{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (1,)}",
    "nested": "(" * 5000 + ")" * 5000,
    "long": "{" + " " * 60_000 + "}",
    "no dtype": "{'descr': 'nothing', 'fortran_order': False, 'shape': (1,)}",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "objects in records": "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,)}",
    "no fields": "{}",
    "no dictionary": "7",
    "open": "{'descr': '<f4'",
    "null": "\x00\x00",
}
ARRAYS: dict[str, object] = {
    "text": np.full((40, 3, 8), "1.0"),
    "bytes": np.full((40, 3, 8), b"1"),
    "complex": np.zeros((40, 3, 8), complex),
    "truth": np.zeros((40, 3, 8), bool),
    "dates": np.zeros((40, 3, 8), "M8[s]"),
    "spans": np.zeros((40, 3, 8), "m8[s]"),
    "records": np.zeros((40, 3, 8), [("a", "f4"), ("b", "i4")]),
    "raw": np.zeros((40, 3, 8), "V4"),
    "empty text": np.full((40, 3, 8), ""),
    "nan": np.full((40, 3, 8), np.nan),
    "infinity": np.full((40, 3, 8), np.inf),
    "beyond float32": np.full((40, 3, 8), 1e300),
    "long double": np.full((40, 3, 8), np.longdouble("1e4000")),
    "nothing": np.zeros((0, 3, 8)),
    "no channels": np.zeros((40, 0, 8)),
    "no steps": np.zeros((40, 3, 0)),
    "scalar": np.float32(3),
    "flat": np.zeros(40),
    "two axes": np.zeros((40, 24)),
    "six axes": np.zeros((1, 1, 1, 40, 3, 8)),
    "other channels": np.zeros((40, 4, 8)),
    "other steps": np.zeros((40, 3, 9)),
    "channels last": np.zeros((40, 8, 3)),
}
LABELS: dict[str, object] = {
    "text": np.full(40, "1"),
    "halves": np.full(40, 0.5),
    "complex": np.zeros(40, complex),
    "truth": np.zeros(40, bool),
    "too many": np.zeros(41, int),
    "two axes": np.zeros((40, 1), int),
    "scalar": np.int64(1),
    "counted from beyond": np.full(40, 3),
    "negative": np.full(40, -2),
    "huge": np.full(40, 2**63, np.uint64),
    "smallest": np.full(40, -(2**63)),
    "records": np.zeros(40, [("a", "f4")]),
    "dates": np.zeros(40, "M8[s]"),
}


def archives() -> Iterator[tuple[str, bytes]]:
    """Every kind of file that may be given where samples are asked for."""
    for name, header in HEADERS.items():
        yield f"header: {name}", zipped({"x.npy": member(header)})
    for name, array in ARRAYS.items():
        yield f"x: {name}", saved(x=array)
    for name, array in LABELS.items():
        yield f"y: {name}", saved(x=good(), y=array)
    sound = saved(x=good(), y=np.zeros(40, int))
    for at in (1, 10, 40, len(sound) // 2, len(sound) - 30, len(sound) - 1):
        yield f"cut at {at}", sound[:at]
    yield "nothing", b""
    yield "text", b"x,y\n1,2\n"
    yield "single array", buffer(np.save, good())
    yield "other name", saved(z=good())
    yield "member that is none", zipped({"x.npy": b"not an array"})
    yield "empty member", zipped({"x.npy": b""})
    yield "later version", zipped({"x.npy": member(HEADERS["negative"], version=b"\x09\x00")})
    locked = bytearray(zipped({"x.npy": member(HEADERS["more than there is"])}))
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        locked[locked.index(mark) + (6 if mark[2] == 3 else 8)] |= 1
    yield "encrypted", bytes(locked)
    packed = bytearray(sound)
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        packed[packed.index(mark) + (8 if mark[2] == 3 else 10)] = 99
    yield "unknown compression", bytes(packed)
    random = np.random.default_rng(0)
    for i in range(40):
        changed = bytearray(sound)
        changed[int(random.integers(len(sound)))] ^= int(random.integers(1, 256))
        yield f"flipped {i}", bytes(changed)


def buffer(function: Callable[..., object], *arrays: object, **named: object) -> bytes:
    file = io.BytesIO()
    function(file, *arrays, **named)
    return file.getvalue()


def saved(**arrays: object) -> bytes:
    return buffer(np.savez, **arrays)


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


FILES = dict(archives())


@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_is_one_line(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "b.npz").write_bytes(FILES[name])
    result = CliRunner().invoke(app, ["predict", str(folder / "m.cal"), "-i", str(tmp_path / "b.npz")])
    if name.startswith("flipped") and result.exit_code == 0:
        return  # some bytes are nobody's: times, or digits of numbers whose checksum nobody asked for
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    refused("run", folder / "m.cal", "--state", tmp_path / "s.db", "--stream", tmp_path / "b.npz")


def test_a_bomb_is_not_unpacked(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        header = member("{'descr': '<f4', 'fortran_order': False, 'shape': (4194304, 3, 8)}")
        archive.writestr("x.npy", header + bytes(2**22))
    line = refused("predict", folder / "m.cal", "-i", tmp_path / "b.npz")
    assert "402,653,184 bytes as its shape says, got 4,194" in line


@pytest.mark.parametrize(
    "value",
    [
        np.ma.masked_greater(good() + np.arange(8), 6),
        [[1.0, 2.0], [3.0]],
        np.array([None] * 4),
        [[1 + 2j]],
        [["a"]],
        {"x": 1},
        object(),
        type("Bomb", (), {"__array__": lambda self, *a, **k: 1 / 0})(),
        type("Bomb", (), {"__len__": lambda self: 3, "__getitem__": lambda self, i: 1 / 0})(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_arrays_are_read_as_meant_or_refused(value: object) -> None:
    with pytest.raises(DataError, match=r"^window: expected [^\n]*$"):
        check_window(value, (3, 8))


def test_masks_that_mask_nothing_are_arrays() -> None:
    assert check_window(np.ma.masked_array(good()), (3, 8)).shape == (40, 3, 8)


FACTS = '{"accuracy_before": "x", "coreset": [], "coreset_source": 1, "alerts": 3, "context": {}}'
VALUES = ("text", b"\xff\xfe", FACTS, '{"to": NaN}', "[" * 9999)


def test_damaged_rows_are_one_line(folder: Path, tmp_path: Path) -> None:
    with sqlite3.connect(folder / "s.db") as state:
        tables = [name for (name,) in state.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = [(t, row[1]) for t in tables for row in state.execute(f"PRAGMA table_info({t})")]
    state.close()
    for (table, column), value in itertools.product(columns, VALUES):
        shutil.copy(folder / "s.db", tmp_path / "d.db")
        damaged = sqlite3.connect(tmp_path / "d.db", isolation_level=None)
        damaged.execute("PRAGMA ignore_check_constraints = ON")
        try:
            damaged.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT max(rowid) FROM {table})", (value,))
        except sqlite3.Error:  # what no database can hold, nor a table without row numbers
            continue
        finally:
            damaged.close()
        for command in (("log",), ("log", "--json")) if value == FACTS else (("log", "--json"),):
            result = CliRunner().invoke(app, [command[0], str(tmp_path / "d.db"), *map(str, command[1:])])
            about = (table, column, value, command, result.output[-300:], result.exception)
            assert result.exit_code in (0, 2), about
            assert result.exit_code == 0 or result.stderr.count("\n") == 1, about


def test_no_version_is_one_line(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "s.db", tmp_path / "d.db")
    with sqlite3.connect(tmp_path / "d.db") as state:
        for table in ("event", "delta", "version"):
            state.execute(f"DELETE FROM {table}")
    assert "damaged" in refused("log", tmp_path / "d.db")


@pytest.mark.parametrize("code", [n for n in vars(sqlite3) if n.startswith("SQLITE_IOERR")])
def test_a_failing_disk_is_no_damage(code: str) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = getattr(sqlite3, code)
    with pytest.raises(StateError) as caught, database.failures("s.db"):
        raise error
    assert "damaged" not in str(caught.value)
    reading = code.rpartition("IOERR_")[2] in ("READ", "SHORT_READ", "FSTAT", "ACCESS", "MMAP", "SEEK")
    assert ("cannot be read" if reading else "could not be written") in str(caught.value)


@pytest.mark.parametrize("name", ["gone.npz", "folder", "folder/x/y.npz"])
def test_files_that_cannot_be_read_are_not_damaged(folder: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    for line in (
        refused("predict", folder / "m.cal", "-i", tmp_path / name),
        refused("prepare", "m.py:f", "--data", tmp_path / name, "-o", tmp_path / "o.cal"),
        refused("prepare", tmp_path / f"{name}.pt2", "--data", folder / "good.npz", "-o", tmp_path / "o.cal"),
        refused("inspect", tmp_path / name),
    ):
        assert "damaged" not in line
        assert "cannot be read" in line or "expected a Python file" in line
