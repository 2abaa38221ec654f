"""The protocol on a small made-up data folder: rows, resuming, repeating, refusing."""

import json
from dataclasses import replace

import numpy as np
import pytest

from calibrant.bench import qcore
from calibrant.core.errors import DataError
from calibrant.core.rng import generator

CLASSES, CHANNELS, LENGTH, SEGMENTS = 3, 4, 24, 60


def write_subject(folder, number):
    """Three sine-like classes; each subject wears its sensors with other gains and offsets."""
    rng = generator(number, "subject")
    y = np.repeat(np.arange(CLASSES), SEGMENTS)
    time = np.arange(LENGTH)
    x = np.sin(time * (y[:, None] + 1) * 0.4 + rng.uniform(0, 6, (len(y), 1)))[:, None] * [[[1.0], [0.5], [-1], [0.2]]]
    x = x * rng.uniform(0.5, 1.6, (CHANNELS, 1)) + rng.normal(0, 0.6, (CHANNELS, 1)) + rng.normal(0, 0.2, x.shape)
    np.savez(
        folder / f"subject{number}.npz",
        x=np.rint(x * 256).astype(np.int16),
        scale=np.full(CHANNELS, 1 / 256, np.float32),
        y=y.astype(np.uint8),
        segment=np.tile(np.arange(1, SEGMENTS + 1), CLASSES).astype(np.uint8),
        classes=np.array(["low", "middle", "high"]),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    (root / "dsa").mkdir()
    for number in (1, 2, 12):
        write_subject(root / "dsa", number)
    return root


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(qcore, "TRAINING_STEPS", 30)


def options(folder, out, **changes):
    plain = qcore.Options(out=out, data=folder, bits=(8,), coreset=6, steps=3, jobs=1)
    return replace(plain, **changes)


def without_seconds(result):
    return [{key: value for key, value in row.items() if key != "seconds_per_window"} for row in result["rows"]]


def test_rows_resume_and_repeat(folder, tmp_path):
    calls = []
    first = qcore.run(options(folder, tmp_path / "a"), lambda *call: calls.append(call))
    assert [row["updater"] for row in first["rows"]] == ["none", "flip", "flip-taps", "bp"]
    for row in first["rows"]:
        assert len(row["accuracy_target"]) == 10
        assert row["accuracy_target_mean"] == pytest.approx(np.mean(row["accuracy_target"]))
        assert row["window_samples"] == 3 * 48 // 10
        assert (row["bytes_added"] > 0) == (row["updater"] != "none")
    still = first["rows"][0]
    assert set(still["accuracy_target"]) == {still["accuracy_target_before"]}
    assert still["accuracy_source_final"] == still["accuracy_source_before"]
    flip, taps, bp = (row["bytes_added"] for row in first["rows"][1:])
    assert flip < taps < bp
    assert calls == [("train", 0, 1), ("train", 1, 1), ("prepare", 0, 1), ("prepare", 1, 1)] + [
        ("adapt", i, 4) for i in range(5)
    ]
    assert json.loads((tmp_path / "a" / "rows.json").read_text()) == first
    assert (tmp_path / "a" / "accuracy-8bit.png").stat().st_size > 10_000

    resumed = []
    again = qcore.run(options(folder, tmp_path / "a"), lambda *call: resumed.append(call))
    assert again == first
    assert resumed == []

    # An interrupted run has rows on disk but not all: only what is missing is done, here in other processes.
    rows = sorted((tmp_path / "a" / "cache" / "rows").iterdir())
    for path in rows:
        if json.loads(path.read_text())["updater"] in ("flip", "bp"):
            path.unlink()
    rest = qcore.run(options(folder, tmp_path / "a", jobs=2), lambda *call: resumed.append(call))
    assert without_seconds(rest) == without_seconds(first)
    assert resumed == [("adapt", i, 2) for i in range(3)]


def test_other_data_is_not_resumed(folder, tmp_path):
    job = qcore.Training("dsa", "cnn", 1, qcore.file_digest(folder, "dsa", 1), "segment", 0)
    other = qcore.Training("dsa", "cnn", 1, qcore.file_digest(folder, "dsa", 2), "segment", 0)
    assert job != other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": (1, 2)}, "subject pairs: expected as many targets as sources, got 2 and 1"),
        ({"target": (3,)}, "subject: expected one of 1, 2, 12 in .*, got 3"),
        ({"dataset": "mnist"}, "data set: expected one of dsa, usc_had, got mnist"),
        ({"network": "small_cnn"}, "network: expected one of cnn, inception_time, got small_cnn"),
        ({"updaters": ("flip", "magic")}, "updater: expected one of none, flip, flip-taps, bp, got magic"),
        ({"bits": (3,)}, "bits: expected one of 2, 4, 8, got 3"),
        ({"split": "folds"}, "split: expected one of segment, random, got folds"),
        ({"seeds": ()}, "seeds: expected at least one, got none"),
        ({"source": (), "target": ()}, "source: expected at least one, got none"),
        ({"coreset": 0}, "coreset, steps, jobs, seeds: expected positive"),
        ({"seeds": (-1,)}, "coreset, steps, jobs, seeds: expected positive"),
        ({"data": "/nowhere"}, "data folder /nowhere: expected an existing folder"),
    ],
)
def test_bad_options_are_refused(folder, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        qcore.run(options(folder, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()
