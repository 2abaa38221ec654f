"""Makes a folder of files: an artifact, states of it, and `expected.json`, what the code that wrote them says of them.

Files are only ever added: those of one format are made once, by the last code that writes it, and every later release
must open them (`test_formats.py`). This script uses the public surface alone, so that it runs with whatever code is
installed. In a checkout of the release whose format is about to change, into a folder named by the formats of artifact
and state:

    python make.py 3.3

The states tell: `labeled` a device that drifts, learns, is lied to, goes back and waits for labels; `unlabeled` one
that ends with a version that no label vouches for. Folder 2 has states of schema 2, and `samples` of schema 1, of a
device that learned as long as a release kept no samples (it was cut down, for no code of that time was left that opens
artifacts of format 2). The versions of folder 2.3 are of two kinds of parameters, weights and biases. Folder
4-recognition is the artifact alone, by the first code that wrote one with recognition.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import calibrant
from calibrant import Session

CLASSES, CHANNELS, LENGTH = 3, 4, 16
Samples = tuple[NDArray[np.float32], NDArray[np.int64]]


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir()
    artifact = folder / "model.cal"
    calibrant.write(artifact, prepared())
    with Session.open(artifact, folder / "labeled.db") as session:
        labeled(session)
    with Session.open(artifact, folder / "unlabeled.db") as session:
        unlabeled(session)
    told = {path.stem: facts(artifact, path) for path in sorted(folder.glob("*.db"))}
    (folder / "expected.json").write_text(json.dumps(told, indent=1) + "\n", encoding="ascii")


def labeled(session: Session) -> None:
    """Every kind of event that a session with its defaults writes."""
    near, far = parts(samples(1, 150), 6), parts(samples(2, 96), 3)
    for window in [near[0], *far, far[0]]:
        session.observe(*window)
    for x, y in far:  # lies: nothing can be gained
        session.observe(x, np.roll(y, 1))
    session.rollback(1)
    for x, _ in parts(samples(23, 288), 6)[:3]:
        session.observe(x)
    session.label(session.defer(far[1][0]), far[1][1])
    session.defer(near[1][0])


def unlabeled(session: Session) -> None:
    """Another domain, of which nobody knows the labels."""
    for x, _ in parts(samples(9, 288), 6):
        session.observe(x)


def facts(artifact: Path, state: Path) -> dict[str, Any]:
    """What a state holds: its versions with the scores that each gives, and its events."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / state.name
        shutil.copy(state, copy)
        connection = sqlite3.connect(copy)
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        events = connection.execute("SELECT kind, version FROM event ORDER BY id").fetchall()
        connection.close()
        with Session.open(artifact, copy) as session:
            versions = session.versions()
            scores = {versions[-1].number: scored(session)}
            for version in versions[:-1]:
                session.rollback(version.number)
                scores[version.number] = scored(session)
    rows = [
        {
            "number": v.number,
            "parent": v.parent,
            "updater": v.updater,
            "decision": v.decision,
            "flips": v.flips,
            "weights_sha256": v.weights_sha256,
            "scores_sha256": scores[v.number],
        }
        for v in versions
    ]
    return {"schema": schema, "versions": rows, "events": events}


def scored(session: Session) -> str:
    """Hash of the scores of some inputs that every machine makes alike."""
    count = 8 * CHANNELS * LENGTH
    x = ((np.arange(count) * 37 % 101 - 50) / 32).astype(np.float32).reshape(8, CHANNELS, LENGTH)
    return hashlib.sha256(session.scores(x).astype("<f4").tobytes()).hexdigest()


def samples(seed: int, count: int) -> Samples:
    """Series whose class is their frequency; each seed is a domain of other gains and offsets per channel."""
    rng = np.random.default_rng(seed)
    y = np.arange(count, dtype=np.int64) % CLASSES
    phase = rng.uniform(0, 6, (count, 1))
    x = np.sin(np.arange(LENGTH) * (y[:, None] + 1) * 0.5 + phase)[:, None] * rng.uniform(0.3, 1.8, (CHANNELS, 1))
    x = x + rng.normal(0, 0.8, (CHANNELS, 1)) + rng.normal(0, 0.2, x.shape)
    return x.astype(np.float32), y


def parts(given: Samples, count: int) -> list[Samples]:
    """A domain's samples as windows."""
    order = np.random.default_rng(0).permutation(len(given[1]))
    return [(given[0][rows], given[1][rows]) for rows in np.array_split(order, count)]


def prepared() -> calibrant.Artifact:
    """A network of two layers at 4 bits, trained on domain 1."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = nn.Sequential(
        nn.Conv1d(CHANNELS, 8, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, CLASSES)
    )
    x, y = samples(1, 150)
    scaled = torch.from_numpy((x - x.mean((0, 2), keepdims=True)) / x.std((0, 2), keepdims=True))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(scaled), torch.from_numpy(y)).backward()
        optimizer.step()
    return calibrant.prepare(net, x, y, bits=4, coreset=9, epochs=2).artifact


if __name__ == "__main__":
    main()
