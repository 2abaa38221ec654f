"""The examples and the demo run as they are shown."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
from shell import calibrant

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_model.py"


def test_own_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60
    runpy.run_path(str(EXAMPLE))["main"](tmp_path)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 7
    assert "committed" in printed[-2]
    assert printed[-1].startswith("back to version")


def test_demo(tmp_path: Path) -> None:
    shown = calibrant("demo", "--out", tmp_path)
    assert shown.status == 0, shown.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert all(0 <= report[f"accuracy_{k}"] <= 1 for k in ("before", "no_adaptation", "calibrant"))
    assert report["accuracy_before"] > 0.9
    assert report["accuracy_calibrant"] >= report["accuracy_no_adaptation"] + 0.15
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert calibrant("log", tmp_path / "digits.db").status == 0
