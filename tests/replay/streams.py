"""Windows through sessions: what was decided, and the weights, coresets and scores that came of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from calibrant import Session, UpdateReport, Version, load, write
from replay import fingerprint, fixtures
from replay.record import Row

FEW, CAPACITY, LATE, UNKNOWN = 9, 20, 2, -1
DECISION = ("decision", "version", "flips", "steps", "accepted")
MEASURED = ("loss", "accuracy", "coreset_accuracy")

Regime = Callable[[Session, list[tuple[np.ndarray, np.ndarray]]], Iterator[Row]]


def artifact_rows(name: str) -> Iterator[Row]:
    """An artifact's bytes when it is read and written again, and its scores before any stream."""
    path = fixtures.ARTIFACTS[name]
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / path.name
        write(again, load(path))
        yield f"artifact/{name}/bytes", fingerprint.of_bytes(path.read_bytes())
        yield f"artifact/{name}/bytes written again", fingerprint.of_bytes(again.read_bytes())
    with Session.open(path) as session:
        for number, (x, _) in enumerate(fixtures.windows(name), start=1):
            yield f"artifact/{name}/scores/window {number}", fingerprint.of_array(session.scores(x))


def stream_rows(name: str) -> Iterator[Row]:
    """Every regime, with the gate and without."""
    path, windows = fixtures.ARTIFACTS[name], fixtures.windows(name)
    for regime, run in REGIMES.items():
        for gate in (True, False):
            prefix = f"stream/{name}/{regime}/gate-{'on' if gate else 'off'}"
            with Session.open(path, gate=gate, capacity=CAPACITY if regime == "late" else None) as session:
                for key, value in (*run(session, windows), *_ends(session, windows)):
                    yield f"{prefix}/{key}", value
    for key, value in _history(path, windows):
        yield f"stream/{name}/history/gate-on/{key}", value


def _labeled(session: Session, windows: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[Row]:
    for number, (x, y) in enumerate(windows, start=1):
        yield f"window {number}", told(session.observe(x, y))


def _few(session: Session, windows: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[Row]:
    """Labels of those samples alone that the session asks for."""
    for number, (x, y) in enumerate(windows, start=1):
        asked = session.ask(x, FEW)
        known = np.full(len(y), UNKNOWN)
        known[asked] = y[asked]
        yield f"window {number} asked", " ".join(map(str, asked.tolist()))
        yield f"window {number}", told(session.observe(x, known))


def _none(session: Session, windows: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[Row]:
    for number, (x, _) in enumerate(windows, start=1):
        yield f"window {number}", told(session.observe(x))


def _late(session: Session, windows: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[Row]:
    """Labels come some windows later; windows without them are studied meanwhile, but for every third."""
    waiting: list[tuple[int, int, np.ndarray]] = []
    for number, (x, y) in enumerate(windows, start=1):
        if number % 3:
            yield f"window {number} without labels", told(session.observe(x))
        waiting.append((number, session.defer(x), y))
        if len(waiting) > LATE:
            known, ticket, labels = waiting.pop(0)
            yield f"window {known}", told(session.label(ticket, labels))


REGIMES: dict[str, Regime] = {"labeled": _labeled, "few": _few, "none": _none, "late": _late}


def _history(path: Path, windows: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[Row]:
    """A state on disk: closed and opened again, rolled back, and made to forget."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state.db"
        with Session.open(path, state=state, capacity=CAPACITY) as session:
            yield from _labeled(session, windows[:4])
            ticket = session.defer(windows[4][0])
        with Session.open(path, state=state, capacity=CAPACITY) as session:
            yield "window 5 after opening again", told(session.label(ticket, windows[4][1]))
            session.rollback(min(1, session.version.number))
            yield "scores after rollback", fingerprint.of_array(session.scores(windows[4][0]))
            yield "window 7 after rollback", told(session.observe(*windows[6]))
        with Session.open(path, state=state, capacity=CAPACITY) as session:
            yield "forgotten", str(session.forget())
            yield "window 8 after forgetting", told(session.observe(*windows[7]))
            yield "window 9 without labels", told(session.observe(windows[8][0]))
            yield from _ends(session, windows)


def _ends(session: Session, windows: list[tuple[np.ndarray, np.ndarray]]) -> Iterator[Row]:
    for version in session.versions():
        yield f"version {version.number}", _version(version)
    yield "scores at the end", fingerprint.of_array(np.concatenate([session.scores(x) for x, _ in windows]))


def told(report: UpdateReport) -> str:
    """Decisions and numbers of a report, and no words: those may change."""
    decided = [f"{name}={getattr(report, name)}" for name in DECISION]
    return " ".join(decided + [_change(report, what) for what in MEASURED])


def _change(report: UpdateReport, what: str) -> str:
    before, after = (fingerprint.number(getattr(report, f"{what}_{when}")) for when in ("before", "after"))
    return f"{what}={before}" if before == after else f"{what}={before}->{after}"


def _version(version: Version) -> str:
    coreset = str(version.metrics.get("coreset_sha256", "none"))[: fingerprint.DIGITS]
    weights = version.weights_sha256[: fingerprint.DIGITS]
    return f"parent={version.parent} {version.decision} flips={version.flips} weights={weights} coreset={coreset}"
