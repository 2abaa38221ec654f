"""Rows of the state that hold samples: the coreset and windows whose labels are still to come. Read as untrusted."""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.core import nibbles
from calibrant.core.errors import StateError
from calibrant.core.limits import LIMITS
from calibrant.core.nibbles import Nibbles
from calibrant.core.statistics import Coreset
from calibrant.memory.replay import NEVER, ReplayBuffer

MAX_DEFERRED = LIMITS["deferred"].most  # windows that wait for labels; the oldest goes first
_MAX_MISSES = 2**31
_KEY = "coreset"  # of the digest in `meta`

Shape = tuple[int, int, int]


def encode(codes: NDArray[np.int8], bits: int) -> bytes:
    """Samples int8[n, height, width, channels] as bytes: their bits, then what zlib makes of codes or nibbles."""
    if bits == 8:
        raw = codes.tobytes()
    else:
        held = nibbles.pack(codes)
        raw = held.low.tobytes() + held.step.tobytes() + held.packed.tobytes()
    return bytes([bits]) + zlib.compress(raw, 6)


def decode(data: Any, count: int, shape: Shape, where: str) -> NDArray[np.int8]:
    """Inverse of :func:`encode` for `count` samples; StateError that starts with `where` if the bytes are others."""
    if not isinstance(data, bytes) or data[:1] not in (b"\x04", b"\x08"):
        raise StateError(f"{where}: expected packed samples, got others (state is damaged)")
    elements, blocks = shape[0] * shape[1] * shape[2], nibbles.blocks(*shape)
    grids, half = count * blocks, (elements + 1) // 2
    size = count * elements if data[0] == 8 else 2 * grids + count * half
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(data[1:], size + 1)
    except zlib.error:
        raise StateError(f"{where}: expected compressed samples, got damaged bytes (state is damaged)") from None
    if len(raw) != size or not unpacker.eof or unpacker.unused_data:
        raise StateError(f"{where}: expected {size} bytes of samples, got {len(raw)} (state is damaged)")
    if data[0] == 8:
        return np.frombuffer(raw, np.int8).reshape(count, *shape).copy()
    low, step = np.frombuffer(raw, np.int8, grids), np.frombuffer(raw, np.uint8, grids, grids)
    packed = np.frombuffer(raw, np.uint8, offset=2 * grids)
    held = Nibbles(low.reshape(count, blocks), step.reshape(count, blocks), packed.reshape(count, half))
    codes = nibbles.unpack(held, shape)
    if codes.size and codes.max() > 127:
        raise StateError(f"{where}: expected codes of at most 127, got {codes.max()} (state is damaged)")
    return codes.astype(np.int8)


def stored_digest(connection: sqlite3.Connection) -> str:
    """What :func:`write` left; empty before the coreset was first redrawn."""
    found = connection.execute("SELECT value FROM meta WHERE key = ?", (_KEY,)).fetchone()
    return "" if found is None else str(found[0])


def read(connection: sqlite3.Connection, name: str, coreset: Coreset, classes: int, outputs: int = 0) -> ReplayBuffer:
    """The coreset in force: the artifact's own until it is drawn anew; `outputs` scores are remembered of a sample.

    Raises
    ------
    StateError
        A row is missing, added or changed, is not of this artifact, or has a class that does not exist.
    """
    base, digest = ReplayBuffer.of(coreset, outputs), stored_digest(connection)
    rows = connection.execute("SELECT id, source, version, label, misses FROM sample ORDER BY id").fetchall()
    if not digest and not rows:
        return base
    for row in rows:
        _check(row, classes, f"{name}: sample {row[0]}")
    scores = dict(connection.execute("SELECT sample, payload FROM remembered").fetchall())
    if _digest(_named(rows, scores)) != digest:
        raise StateError(
            f"{name}: coreset: expected rows with SHA-256 {digest[:16] or 'of none'}..., got {len(rows)} others "
            "(state is damaged)"
        )
    number, source, version, label, misses = np.array(rows, np.int64).reshape(-1, 5).T
    stream = source == 0
    from_artifact = np.flatnonzero(np.isin(base.id, number[~stream]))
    if from_artifact.size != np.count_nonzero(~stream):
        raise StateError(f"{name}: coreset: expected samples of the artifact, got others (another coreset?)")
    kept = base.take(from_artifact)
    place = np.searchsorted(number, kept.id)
    kept = replace(kept, misses=misses[place], version=version[place])
    codes = [_codes(connection, int(i), coreset, name) for i in number[stream]]
    arrived = kept.of_stream(np.concatenate([kept.x[:0], *codes]), label[stream], 0)
    wrong = np.flatnonzero(arrived.id != number[stream])
    if wrong.size:
        raise StateError(f"{name}: sample {number[stream][wrong[0]]}: expected codes of that hash, got others")
    remembered = arrived.scores.copy()
    for row, each in enumerate(number[stream].tolist()):
        if outputs and each in scores:
            remembered[row] = _scores(scores[each], outputs, f"{name}: sample {each}")
    return kept.and_also(replace(arrived, misses=misses[stream], version=version[stream], scores=remembered))


def write(connection: sqlite3.Connection, pool: ReplayBuffer) -> str:
    """Store a coreset, writing only what differs from the one stored; call it in a transaction. Returns its digest."""
    rows, scores = _rows(pool), _stored_scores(pool)
    digest = _digest(_named(rows, scores))
    if digest == stored_digest(connection):
        return digest
    held = dict(connection.execute("SELECT id, misses FROM sample").fetchall())
    wanted = {row[0] for row in rows}
    connection.executemany("DELETE FROM sample WHERE id = ?", [(i,) for i in held if i not in wanted])
    connection.executemany(
        "UPDATE sample SET misses = ? WHERE id = ?",
        [(row[4], row[0]) for row in rows if held.get(row[0], row[4]) != row[4]],
    )
    connection.executemany("INSERT INTO sample VALUES (?, ?, ?, ?, ?)", [row for row in rows if row[0] not in held])
    fresh = [i for i in np.flatnonzero(~pool.source).tolist() if int(pool.id[i]) not in held]
    connection.executemany(
        "INSERT INTO codes VALUES (?, ?)", [(int(pool.id[i]), encode(pool.x[i : i + 1], pool.bits)) for i in fresh]
    )
    learned = {number for (number,) in connection.execute("SELECT sample FROM remembered").fetchall()}
    # an updater that does not distill has none of them, and the digest is of what the pool has
    connection.executemany("DELETE FROM remembered WHERE sample = ?", [(i,) for i in sorted(learned - scores.keys())])
    fresh_scores = [item for item in scores.items() if item[0] not in learned]
    connection.executemany("INSERT INTO remembered VALUES (?, ?)", fresh_scores)
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_KEY, digest))
    return digest


def fingerprint(pool: ReplayBuffer) -> str:
    """SHA-256 of a coreset as :func:`write` stores it."""
    return _digest(_named(_rows(pool), _stored_scores(pool)))


def clear(connection: sqlite3.Connection) -> tuple[int, int]:
    """Delete every sample that came from the stream; how many of the coreset, how many waiting windows."""
    (samples,) = connection.execute("SELECT count(*) FROM sample WHERE source = 0").fetchone()
    windows = connection.execute("DELETE FROM deferred").rowcount
    connection.execute("DELETE FROM codes")
    connection.execute("DELETE FROM remembered")
    connection.execute("DELETE FROM sample")
    connection.execute("DELETE FROM meta WHERE key = ?", (_KEY,))
    return int(samples), int(windows)


def defer(connection: sqlite3.Connection, codes: NDArray[np.int8], created: str) -> tuple[int, int]:
    """Keep a window int8[n, height, width, channels]; its ticket, and how many older ones had to go."""
    row = (created, len(codes), encode(codes, 8))
    ticket = connection.execute("INSERT INTO deferred (created, samples, payload) VALUES (?, ?, ?)", row).lastrowid
    newest = "SELECT ticket FROM deferred ORDER BY ticket DESC LIMIT ?"
    dropped = connection.execute(f"DELETE FROM deferred WHERE ticket NOT IN ({newest})", (MAX_DEFERRED,)).rowcount
    return int(ticket or 0), int(dropped)


def deferred(connection: sqlite3.Connection, name: str, ticket: int, shape: Shape) -> NDArray[np.int8]:
    """The window of a ticket.

    Raises
    ------
    StateError
        The ticket was never given, or is used up or expired, or its window is damaged.
    """
    small = ticket if 0 <= ticket < 2**63 else -1  # what an SQLite integer can be
    found = connection.execute("SELECT samples, payload FROM deferred WHERE ticket = ?", (small,)).fetchone()
    if found is None:
        (last,) = connection.execute("SELECT coalesce(max(CAST(seq AS INTEGER)), 0) FROM sqlite_sequence").fetchone()
        if 1 <= ticket <= last:
            raise StateError(
                f"{name}: ticket {ticket}: expected a waiting window, got one labeled before or dropped for newer ones "
                f"(at most {MAX_DEFERRED} wait)"
            )
        raise StateError(f"{name}: ticket {ticket}: expected one that `defer` gave, got an unknown one")
    count, data = found
    where = f"{name}: deferred window {ticket}"
    if type(count) is not int or not 1 <= count <= 2**24:
        raise StateError(f"{where}: expected a number of samples, got {count!r:.40} (state is damaged)")
    return decode(data, count, shape, where)


def settle(connection: sqlite3.Connection, ticket: int) -> None:
    """Delete a window that is labeled now."""
    connection.execute("DELETE FROM deferred WHERE ticket = ?", (ticket,))


def _codes(connection: sqlite3.Connection, number: int, coreset: Coreset, name: str) -> NDArray[np.int8]:
    found = connection.execute("SELECT payload FROM codes WHERE sample = ?", (number,)).fetchone()
    if found is None:
        raise StateError(f"{name}: sample {number}: expected codes, got none (state is damaged)")
    _, height, width, channels = coreset.x.shape
    return decode(found[0], 1, (height, width, channels), f"{name}: sample {number}")


def _check(row: tuple[Any, ...], classes: int, where: str) -> None:
    limits = {"source": (0, 1), "version": (0, 2**63 - 1), "label": (0, classes - 1), "misses": (NEVER, _MAX_MISSES)}
    for (what, (low, high)), value in zip(limits.items(), row[1:], strict=True):
        if type(value) is not int or not low <= value <= high:
            raise StateError(f"{where}: expected {what} from {low} to {high}, got {value!r:.40} (state is damaged)")


def _rows(pool: ReplayBuffer) -> list[tuple[int, ...]]:
    columns = (pool.id, pool.source.astype(np.int64), pool.version, pool.y, pool.misses)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def _stored_scores(pool: ReplayBuffer) -> dict[int, bytes]:
    """Remembered scores by sample, float32 little-endian."""
    kept = np.flatnonzero(~np.isnan(pool.scores).all(axis=1)) if pool.scores.shape[1] else np.zeros(0, np.int64)
    return {int(pool.id[i]): pool.scores[i].astype("<f4").tobytes() for i in kept}


def _scores(data: Any, outputs: int, where: str) -> NDArray[np.float32]:
    if not isinstance(data, bytes) or len(data) != 4 * outputs:
        raise StateError(f"{where}: expected {outputs} scores, got others (state is damaged)")
    return np.frombuffer(data, "<f4").astype(np.float32)


def _named(rows: Sequence[tuple[Any, ...]], scores: Mapping[int, Any]) -> list[tuple[Any, ...]]:
    """Rows with the hash of what is remembered of their sample."""
    return [(*row, hashlib.sha256(scores[row[0]]).hexdigest()) if row[0] in scores else row for row in rows]


def _digest(rows: Sequence[tuple[Any, ...]]) -> str:
    return hashlib.sha256("\n".join(" ".join(map(str, row)) for row in rows).encode()).hexdigest()
