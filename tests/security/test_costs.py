"""What a small file can ask for is bounded, and the page says by what.

Attacks before: a few kilobytes could ask for 2 GB of arena, hours a sample, or a million steps a window.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from artifacts import make_artifact
from calibrant.artifact.check import check_program
from calibrant.artifact.write import to_bytes
from calibrant.core.errors import ManifestError
from calibrant.core.limits import LIMITS, table
from calibrant.core.program import Program
from calibrant.core.settings import FlipSettings


def checked(program: Program) -> None:
    check_program(program, 3, "m.cal: section")


def test_an_arena_is_bounded() -> None:
    program = make_artifact().program
    checked(replace(program, arena_bytes=LIMITS["arena"].most))
    with pytest.raises(ManifestError, match="arena_bytes'"):
        checked(replace(program, arena_bytes=LIMITS["arena"].most + 1))


def test_a_sample_is_bounded() -> None:
    """Larger maps cost no byte in the file."""
    program = make_artifact(channels=400, hidden=900).program
    wide = tuple(replace(t, height=1, width=2**17) if t.width > 1 else t for t in program.tensors)
    with pytest.raises(ManifestError, match="multiply-accumulates a sample"):
        checked(replace(program, tensors=wide, arena_bytes=LIMITS["arena"].most))


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 10_001), ("rate", 0.0), ("rate", -1.0), ("decay", 1.5), ("fraction", 0.0)]
)
def test_learning_is_bounded(name: str, value: float) -> None:
    with pytest.raises(ManifestError, match=f"field '{name}'"):
        to_bytes(replace(make_artifact(), settings=replace(FlipSettings(), **{name: value})))


def test_the_page_has_the_limits() -> None:
    assert table() in (Path(__file__).parents[2] / "docs/reliability.md").read_text()
