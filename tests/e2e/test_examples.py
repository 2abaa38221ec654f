"""The examples and the demo run as they are shown."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from shell import calibrant

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_own_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = EXAMPLES / "own_model.py"
    assert len(example.read_text().splitlines()) < 60
    runpy.run_path(str(example))["main"](tmp_path)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 7
    assert "committed" in printed[-2]
    assert printed[-1].startswith("back to version")


def test_own_training_chooses_the_same_coreset_in_two_processes() -> None:
    example = EXAMPLES / "own_training.py"
    assert len(example.read_text().splitlines()) < 60
    alone = (sys.executable, str(example))
    # By address: a machine that cannot resolve its own name would wait for itself until the connection times out.
    start = ("-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2")
    together = (sys.executable, *start, str(example))
    printed = [
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout.splitlines()
        for command in (alone, together)
    ]
    assert printed[0] == printed[1]
    assert [line.split(":")[0] for line in printed[0]] == ["2 bits", "4 bits", "8 bits", "coreset"]
    assert len(set(printed[0][-1].split()[1:])) == 20


def test_demo(tmp_path: Path) -> None:
    shown = calibrant("demo", "--out", tmp_path)
    assert shown.status == 0, shown.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert all(0 <= report[f"accuracy_{k}"] <= 1 for k in ("before", "no_adaptation", "calibrant"))
    assert report["accuracy_before"] > 0.9
    assert report["accuracy_calibrant"] >= report["accuracy_no_adaptation"] + 0.15
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert calibrant("log", tmp_path / "digits.db").status == 0
