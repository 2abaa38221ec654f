"""The SQLite file: opened with full durability, recognized by its marks, every failure turned into one sentence."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from calibrant.core import files
from calibrant.core.errors import StateError

APPLICATION_ID = 0x43414C49  # "CALI"
SCHEMA_VERSION = 3  # 2: samples and deferred windows; 3: what policies go on from, versions that are vouched for
BUSY_SECONDS = 5.0
_READING = (
    *(sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_FSTAT),
    *(sqlite3.SQLITE_IOERR_ACCESS, sqlite3.SQLITE_IOERR_MMAP, sqlite3.SQLITE_IOERR_SEEK),
)
_WAL_PAGES = 64  # checkpoint often: the write-ahead log stays below 256 KiB

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE version (
    number INTEGER PRIMARY KEY,
    parent INTEGER REFERENCES version (number),
    created TEXT NOT NULL,
    updater TEXT NOT NULL,
    decision TEXT NOT NULL,
    flips INTEGER NOT NULL,
    weights_sha256 TEXT NOT NULL,
    metrics TEXT NOT NULL,
    vouched INTEGER NOT NULL DEFAULT 1
);
CREATE TABLE delta (
    version INTEGER PRIMARY KEY REFERENCES version (number),
    origin INTEGER NOT NULL REFERENCES version (number),
    payload BLOB NOT NULL
);
CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    created TEXT NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL REFERENCES version (number),
    detail TEXT NOT NULL
);
"""

# Codes lie apart from what changes with every window, so that they are written once.
SAMPLES = """
CREATE TABLE sample (
    id INTEGER PRIMARY KEY,
    source INTEGER NOT NULL,
    version INTEGER NOT NULL REFERENCES version (number),
    label INTEGER NOT NULL,
    misses INTEGER NOT NULL
);
CREATE TABLE codes (
    sample INTEGER PRIMARY KEY REFERENCES sample (id) ON DELETE CASCADE,
    payload BLOB NOT NULL
);
CREATE TABLE deferred (
    ticket INTEGER PRIMARY KEY AUTOINCREMENT,
    created TEXT NOT NULL,
    samples INTEGER NOT NULL,
    payload BLOB NOT NULL
);
"""

# What updaters distill, written once: a sample's scores under the version that learned it first.
POLICIES = """
CREATE TABLE remembered (
    sample INTEGER PRIMARY KEY REFERENCES sample (id) ON DELETE CASCADE,
    payload BLOB NOT NULL
);
CREATE TABLE policy (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL REFERENCES version (number),
    payload BLOB NOT NULL
) WITHOUT ROWID;
"""


def connect(path: Path | None, create: bool) -> sqlite3.Connection:
    """Open a state file (None: in memory), refusing what is not one; an empty database is left for the caller to fill.

    Raises
    ------
    StateError
        The folder or file is missing, or the file is foreign, newer or damaged.
    """
    if path is not None:
        _check_place(path, create)
    name = ":memory:" if path is None else str(path)
    if path is not None and create and not path.exists():
        _create(path)
    with failures(name):
        target = name if path is None else f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
        connection = sqlite3.connect(target, timeout=BUSY_SECONDS, isolation_level=None, uri=path is not None)
        connection.text_factory = _text
    try:
        with failures(name):
            _check_marks(connection, name)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA secure_delete = OFF")  # zeros cost flash; `overwrite_freed` makes up for it
            connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
    except BaseException:
        connection.close()
        raise
    return connection


def is_empty(connection: sqlite3.Connection) -> bool:
    """True if nothing was ever committed: a new file, or one whose creation was cut off."""
    return not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()


def create_schema(connection: sqlite3.Connection) -> None:
    """Tables and marks; call it inside a transaction."""
    for statement in (SCHEMA + SAMPLES + POLICIES).split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def version_of(connection: sqlite3.Connection) -> int:
    """The schema that a state was written with."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def overwrite_freed(connection: sqlite3.Connection, name: str) -> None:
    """Rebuild the file without what was deleted, so that no byte of it stays there; outside any transaction.

    Raises
    ------
    StateError
        Disk full, or another process is reading: what was deleted can no longer be read by us, but its bytes remain.
    """
    where = f"{name}: what was deleted is gone, but its bytes could not be overwritten"
    try:
        connection.execute("VACUUM")
        (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        raise StateError(f"{where} ({error}); do it again") from error
    if busy == 1:
        raise StateError(f"{where} (in use by another process); do it again")


@contextmanager
def transaction(connection: sqlite3.Connection, name: str) -> Iterator[None]:
    """All or nothing; the write lock is taken at once."""
    with failures(name):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


@contextmanager
def failures(name: str) -> Iterator[None]:
    """Turn SQLite's errors into StateError: what happened, and to which file."""
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(f"{name}: {_reason(error)}") from error
    except UnicodeDecodeError as error:  # SQLite quotes damaged names in its own messages
        raise StateError(f"{name}: state is damaged (names that are not UTF-8)") from error


def _reason(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", 0)  # absent where Python's own checks raised
    if code in _READING:
        return "state cannot be read (disk failing?)"
    match code & 0xFF:  # extended codes keep the primary one in the low byte
        case sqlite3.SQLITE_FULL:
            return "state could not be written (disk full), nothing was changed"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return "state is in use by another process"
        case sqlite3.SQLITE_NOTADB:
            return "expected a Calibrant state, got a file that is not an SQLite database"
        case sqlite3.SQLITE_CORRUPT:
            return f"state is damaged ({error})"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return "state cannot be written (read-only)"
        case sqlite3.SQLITE_CANTOPEN:
            return "state cannot be opened (permissions?)"
        case sqlite3.SQLITE_IOERR:
            return "state could not be written (disk full or failing), nothing was changed"
    return f"state could not be used ({error})"


def _text(data: bytes) -> str:
    """Text of a damaged file need not be UTF-8; checks further on see that it is not what it should be."""
    return data.decode("utf-8", "replace")


def _check_place(path: Path, create: bool) -> None:
    if not path.parent.is_dir():
        raise StateError(f"{path}: expected an existing folder for the state, got no folder {path.parent}")
    if path.is_dir():
        raise StateError(f"{path}: expected a state file, got a folder")
    if not create and not path.exists():
        raise StateError(f"{path}: expected a state file, got no such file")


def _create(path: Path) -> None:
    """An empty file for its owner alone: a state holds what the device has seen. SQLite's own files take its mode."""
    try:
        files.create(path, files.SECRET)
    except FileExistsError:
        if not path.exists():
            raise StateError(f"{path}: expected a state file, got a link to nothing") from None
    except OSError as error:
        raise StateError(f"{path}: state cannot be written ({error.strerror})") from None


def _check_marks(connection: sqlite3.Connection, name: str) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID and not (application == 0 and is_empty(connection)):
        raise StateError(f"{name}: expected a Calibrant state, got another program's SQLite database")
    if application == APPLICATION_ID and not 1 <= version <= SCHEMA_VERSION:
        raise StateError(f"{name}: expected state version {SCHEMA_VERSION}, got {version} (newer release?)")
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StateError(f"{name}: state is damaged ({' '.join(str(verdict).split())})")
