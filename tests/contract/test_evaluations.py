"""How often the engine is asked: each sample once under the same parameters, and so many times a window."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from calibrant import FlipSettings, Session, write
from calibrant.core.statistics import Observation
from calibrant.engine import Engine
from calibrant.session.label_screen import LabelScreen, Screened
from calibrant.updaters import FORMS, defaults
from deployments import deployment, samples


class Asked:
    """Counts an engine's calls, and remembers which samples it was asked about under which parameters."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.evaluations = self.taps = 0
        self.seen: set[tuple[str, bytes]] = set()
        self.repeated: list[int] = []
        observe, infer, taps = Engine.observe, Engine.infer, Engine.taps

        def count(engine: Engine, x: NDArray[np.int8]) -> None:
            self.evaluations += 1
            asked = {(engine.parameters.sha256, codes.tobytes()) for codes in x}
            self.repeated.append(len(asked & self.seen))
            self.seen |= asked

        def observing(engine: Engine, x: NDArray[np.int8]) -> Observation:
            count(engine, x)
            return observe(engine, x)

        def inferring(engine: Engine, x: NDArray[np.int8]) -> NDArray[np.int32]:
            count(engine, x)
            return infer(engine, x)

        def sweeping(engine: Engine, x: NDArray[np.int8], signal: NDArray[np.int32]) -> NDArray[np.int64]:
            self.taps += 1
            return taps(engine, x, signal)

        monkeypatch.setattr(Engine, "observe", observing)
        monkeypatch.setattr(Engine, "infer", inferring)
        monkeypatch.setattr(Engine, "taps", sweeping)


def windows(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    x, y = samples(10, 288)
    return [(x[i::count], y[i::count]) for i in range(count)]


def test_a_window_of_the_default_form_asks_25_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "a.cal", deployment(4).prepared.artifact)
    settings = FlipSettings(steps=12, loss_goal=0)
    with Session.open(tmp_path / "a.cal", settings=settings, gate=False) as session:
        asked, *rest = windows(4)
        session.observe(*asked)
        calls = Asked(monkeypatch)
        for window in rest:
            calls.evaluations = calls.taps = 0
            report = session.observe(*window)
            assert report.steps == 12
            assert (calls.evaluations, calls.taps) == (13, 12)
        assert not any(calls.repeated)


@pytest.mark.parametrize("labels", ["all", "some", "none"])
@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("form", [name for name, form in FORMS.items() if not form.needs_training])
def test_no_sample_is_evaluated_twice_under_the_same_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, gate: bool, labels: str
):
    artifact = deployment(4).prepared.artifact
    write(tmp_path / "a.cal", replace(artifact, settings=defaults(form, artifact.settings.rate, steps=6)))
    calls = Asked(monkeypatch)
    screened = LabelScreen.screen

    def apart(*arguments: Any) -> Screened:  # a trial's steps are thrown away: what it asked, no lesson knows
        seen, repeated = set(calls.seen), list(calls.repeated)
        answer = screened(*arguments)
        calls.seen, calls.repeated = seen, repeated
        return answer

    monkeypatch.setattr(LabelScreen, "screen", apart)
    with Session.open(tmp_path / "a.cal", gate=gate, capacity=len(artifact.coreset.y)) as session:
        for x, y in windows(4):
            some = np.where(np.arange(len(y)) % 2, y, -1)
            session.observe(x, {"all": y, "some": some, "none": None}[labels])
    assert sum(calls.repeated) == 0


@pytest.mark.parametrize("gate", [True, False])
def test_a_window_without_labels_asks_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: bool):
    """Once for each candidate, whichever of them learns, is judged, or comes into force."""
    write(tmp_path / "a.cal", deployment(8).prepared.artifact)
    with Session.open(tmp_path / "a.cal", gate=gate) as session:
        calls = Asked(monkeypatch)
        for x, _ in windows(6):
            calls.evaluations = 0
            session.observe(x)
            assert calls.evaluations <= 3  # one more in the first window, where flips compete
        assert calls.evaluations == 2
        assert not any(calls.repeated)
