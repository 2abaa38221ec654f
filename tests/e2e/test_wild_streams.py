"""Streams that once made the loop give up for good, or believe what is wrong: with a user's defaults, reopened too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from calibrant import Session, write
from calibrant.bench.stream import synthetic
from calibrant.bench.stream.scene import Scene
from calibrant.pipeline import torch_model

TOLERANCE = 0.01  # of accuracy, on 300 samples


@dataclass(frozen=True)
class Ending:
    """Accuracy on the last place of a stream, on home, and over the stream before each window taught."""

    final: float
    home: float
    stream: float
    alerts: tuple[str, ...]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net, (x, y) = synthetic.trained()
    place = tmp_path_factory.mktemp("wild") / "tone.cal"
    write(place, torch_model.prepare(net, x, y, bits=4, coreset=20).artifact)
    return place


def played(path: Path, scene: Scene, state: Path | None = None, every: int = 0, gate: bool = True) -> Ending:
    """A stream through a session, closed and opened again after so many windows (0: never)."""
    session, hits, alerts = Session.open(path, state, gate=gate), list[float](), list[str]()
    for at, window in enumerate(scene.windows, 1):
        hits.append(float((session.predict(window.x) == window.y).mean()))
        alerts += [alert.code for alert in session.observe(window.x, window.given).alerts]
        if every and at % every == 0:
            session.close()
            session = Session.open(path, state, gate=gate)
    assert scene.final is not None
    final, home = (float((session.predict(x) == y).mean()) for x, y in (scene.final, scene.test))
    session.close()
    return Ending(final, home, float(np.mean(hits)), tuple(alerts))


@pytest.mark.parametrize("name", ["one odd window, then back", "first window off by one", "offset turned over"])
def test_it_ends_where_learning_from_every_window_ends(path: Path, tmp_path: Path, name: str):
    scene = synthetic.scene(0, synthetic.WAYS[name])
    free = played(path, scene, gate=False)
    once = played(path, scene)
    assert once.final >= free.final - TOLERANCE
    assert once.home >= free.home - TOLERANCE
    assert played(path, scene, tmp_path / "s.db", every=3) == once


def test_labels_that_are_all_wrong_teach_nothing_and_are_said(path: Path):
    scene = synthetic.scene(0, synthetic.WAYS["all labels wrong"])
    ending = played(path, scene)
    assert ending.home >= 0.98
    assert ending.alerts.count("labels-doubted") == len(scene.windows)
    with Session.open(path) as session:
        untouched = np.mean([(session.predict(window.x) == window.y).mean() for window in scene.windows])
    assert ending.stream >= untouched - TOLERANCE  # it goes on as without labels
