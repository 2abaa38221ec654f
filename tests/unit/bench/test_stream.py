"""Streams as they come: the readers' numbers, orders, labels, and that a second run takes rows over."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibrant.bench import stream
from calibrant.bench.stream import scene, synthetic
from calibrant.bench.stream.cases import Case, Family, Leg
from calibrant.bench.stream.families import FAMILIES
from calibrant.core.errors import DataError

SMALL = stream.Options(
    Path(), family=("synthetic",), methods=("none", "flip"), labels=("all",), cases="all labels wrong", sequences=1
)


def fsdd(root: Path) -> Path:
    """Six speakers of ten short clips, two takes a digit, the first a test."""
    folder = root / "fsdd"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for at, name in enumerate(("george", "jackson", "lucas", "nicolas", "theo", "yweweler")):
        offset = np.arange(21) * 400
        audio = rng.normal(0, 1000 + 100 * at, 8000).astype(np.int16)
        y = np.tile(np.arange(10), 2).astype(np.uint8)
        take = np.repeat([0, 5], 10)
        np.savez(folder / f"{name}.npz", audio=audio, offset=offset.astype(np.int32), y=y, take=take)
    return root


def test_a_leg_takes_a_subjects_training_samples_in_an_order_of_the_seed(tmp_path: Path) -> None:
    root, family = fsdd(tmp_path), replace(FAMILIES["fsdd"], window=5)
    case = Case("fsdd", "toy", (1,), (Leg(2), Leg(3, windows=1, wrong=1.0)))
    seen, again = (scene.load(root, family, case, "shuffled", 0) for _ in range(2))
    assert [len(w.y) for w in seen.windows] == [5, 5, 5]
    assert [w.place for w in seen.windows] == [0, 0, 1]
    assert sorted(np.concatenate([w.y for w in seen.windows[:2]]).tolist()) == list(range(10))
    assert all(
        (a.x == b.x).all() and (a.given == b.given).all() for a, b in zip(seen.windows, again.windows, strict=True)
    )
    assert (seen.windows[0].given == seen.windows[0].y).all()
    assert (seen.windows[2].given != seen.windows[2].y).all()
    other = scene.load(root, family, case, "shuffled", 1)
    assert any((a.y != b.y).any() for a, b in zip(seen.windows, other.windows, strict=True))


def test_blocks_are_takes_where_the_family_has_them(tmp_path: Path) -> None:
    root, case = fsdd(tmp_path), Case("fsdd", "toy", (1, 2), (), known=4)
    source = scene.training(root, FAMILIES["fsdd"], case)
    assert source.blocks is not None
    assert source.blocks.tolist() == [5] * 8
    assert scene.training(root, replace(FAMILIES["fsdd"], blocks=False), case).blocks is None
    named = {name for name, family in FAMILIES.items() if family.blocks}
    assert named == {"dsa", "usc_had", "fsdd", "gas_drift", "scenarios"}


def test_a_gradual_leg_goes_from_one_subject_to_the_other(tmp_path: Path) -> None:
    root, family = fsdd(tmp_path), replace(FAMILIES["fsdd"], window=10)
    legs = (Leg(2, windows=1), Leg(2, windows=10, until=3), Leg(3, windows=1))
    windows = scene.load(root, family, Case("fsdd", "toy", (1,), legs), "shuffled", 0).windows
    levels = np.array([w.x.mean() for w in windows])
    assert abs(levels[1] - levels[0]) < abs(levels[-2] - levels[0])  # speakers differ in level alone
    assert len(windows) == 12


def test_home_with_nothing_left_to_stream_is_said(tmp_path: Path) -> None:
    root, family = fsdd(tmp_path), Family("fsdd", "cnn", 2, ())
    case = Case("fsdd", "home", (1,), (Leg(1, windows=1),), home=True)
    with pytest.raises(DataError, match="fsdd/subject1: expected samples to stream, got none"):
        scene.load(root, family, case, "shuffled", 0)


def test_rows_are_taken_over_and_say_what_happened(tmp_path: Path) -> None:
    options = replace(SMALL, out=tmp_path, jobs=1)
    made = stream.run(options)
    assert not made["failures"]
    none, flip = made["rows"]
    assert none["decisions"] == {}
    assert sum(flip["decisions"].values()) == flip["windows"] == 8
    assert json.loads((tmp_path / "rows.json").read_text(encoding="utf-8")) == made
    again = stream.run(options)
    assert again["rows"] == made["rows"]  # seconds too: nothing ran
    assert "synthetic" in (tmp_path / "table.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": ("mnist",)}, "family: expected one of dsa"),
        ({"order": ("sorted",)}, "order: expected one of shuffled, runs, got sorted"),
        ({"methods": ("magic",)}, "method: expected one of none"),
        ({"labels": ("some",)}, "labels: expected all"),
        ({"cases": "nothing like it"}, "cases: expected part of a name"),
        ({"seeds": (-1,)}, "seeds: expected no negative number, got -1"),
    ],
)
def test_options_are_checked(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        stream.run(replace(SMALL, out=tmp_path, **change))  # type: ignore[arg-type]


def test_random_sequences_are_theirs_by_number() -> None:
    assert synthetic.places(3) == synthetic.places(3) != synthetic.places(4)
    a, b = (synthetic.scene(3, synthetic.places(3)) for _ in range(2))
    assert all((v.x == w.x).all() for v, w in zip(a.windows, b.windows, strict=True))
    assert all(len(w.y) == synthetic.WINDOW for w in a.windows)


def test_a_table_a_regime_and_no_rows_twice(tmp_path: Path) -> None:
    """What comes to the same is run once: orders of a stream that has one, labels where none are read."""
    options = replace(SMALL, out=tmp_path, jobs=1, methods=("none", "bp", "flip"), labels=("all", "0"))
    once = stream.run(options)
    assert [(row["method"], row["labels"], row["gate"]) for row in once["rows"]] == [
        ("none", "0", None),
        ("bp", "all", None),
        ("flip", "all", "on"),
        ("flip", "0", "on"),
    ]
    assert stream.run(replace(options, order=("shuffled", "runs")))["rows"] == once["rows"]
    page = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert page.count("\n| none |") == page.count("\n## ") == 2
    assert page.count("\n| bp |") == 1
