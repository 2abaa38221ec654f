"""Names that others chose reach the terminal as text: no markup, no control characters, no links, no traceback.

Attacks before: a class named ``[/on]`` ended `inspect` in a traceback of rich's, ``[link=...]`` became a link, and a
report's escape sequences went to the terminal as they were.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from artifacts import make_artifact
from calibrant.artifact import read, write
from calibrant.cli.console import visible

HOSTILE = (
    "[/on]",
    "[link=https://example.org]safe[/link]",
    "[bold red]alarm[/]",
    ":skull:",
    "größer",
    "\x1b]0;owned\x07",
)


def command(*arguments: object, encoding: str = "utf-8", folder: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {
        **os.environ,
        "PYTHONIOENCODING": encoding,
        "FORCE_COLOR": "1",
        "TERM": "xterm-256color",
        "COLUMNS": "200",
    }
    line = [sys.executable, "-m", "calibrant", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, env=environment, cwd=folder, check=False)


def printed(done: subprocess.CompletedProcess[bytes]) -> str:
    text = (done.stdout + done.stderr).decode("utf-8")
    assert "Traceback" not in text
    assert "\x1b]" not in text  # titles and links of terminals
    assert "\x07" not in text
    return text


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """An artifact whose classes, layer and report are named to hurt."""
    held = make_artifact()
    names = [name for name in HOSTILE if name.isprintable()]  # others are refused by `write`
    layers = tuple(dataclasses.replace(each, name=f"{names[0]}{i}") for i, each in enumerate(held.program.layers))
    program = dataclasses.replace(held.program, layers=layers)
    classes = tuple((names * 9)[i] + str(i) for i in range(len(held.classes)))
    report = {f"{name} {i}": name for i, name in enumerate(HOSTILE)}
    write(tmp_path / "[on].cal", dataclasses.replace(held, program=program, classes=classes, report=report))
    return tmp_path / "[on].cal"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_inspect_prints_names_as_they_are(hostile: Path, encoding: str) -> None:
    done = command("inspect", hostile.name, encoding=encoding, folder=hostile.parent)
    text = printed(done)
    assert done.returncode == 0
    for name in HOSTILE[:4]:
        assert name in text
    assert "\\x1b]0;owned\\x07" in text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_predict_prints_names_as_they_are(hostile: Path, encoding: str) -> None:
    held = read(hostile)
    np.savez(
        hostile.parent / "x.npz", x=np.random.default_rng(0).normal(size=(64, *held.input_shape)).astype(np.float32)
    )
    done = command("predict", hostile.name, "-i", "x.npz", encoding=encoding, folder=hostile.parent)
    printed(done)
    assert done.returncode == 0


@pytest.mark.parametrize("path", ["[/on].cal", "\x1b]0;owned\x07.cal", "größer.cal", "a\nb.cal", "\udcff.cal"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_messages_name_any_path_in_one_line(tmp_path: Path, path: str, encoding: str) -> None:
    done = command("inspect", path, encoding=encoding, folder=tmp_path)
    assert done.returncode == 2
    assert printed(done).count("\n") == 1


def test_no_string_is_special() -> None:
    for code in range(0x110000):
        assert visible(chr(code), "ascii").isprintable()
