"""The protocol on a small made-up data folder: rows, resuming, repeating, failing, refusing."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from calibrant.bench import adaptation, qcore
from calibrant.bench.harness import provenance
from calibrant.bench.qcore import datasets, jobs, network, options
from calibrant.core.errors import DataError
from calibrant.core.version import VERSION
from subjects import write_subject


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for number in (1, 2, 12):
        write_subject(root, number)
    return root


def quick(folder, out, **changes):
    plain = qcore.Options(
        out=out, data=folder, bits=(8,), coreset=(6,), coreset_rule=("balanced",), steps=3, training_steps=30, jobs=1
    )
    return replace(plain, **changes)


def without_seconds(result):
    return [{key: value for key, value in row.items() if key != "seconds_per_window"} for row in result["rows"]]


def test_rows_resume_and_repeat(folder, tmp_path):
    calls = []
    first = qcore.run(quick(folder, tmp_path / "a"), lambda *call: calls.append(call))
    assert [row["updater"] for row in first["rows"]] == ["none", "flip", "flip-taps", "bp"]
    for row in first["rows"]:
        assert len(row["accuracy_target"]) == 10
        assert row["accuracy_target_mean"] == pytest.approx(np.mean(row["accuracy_target"]))
        assert row["accuracy_target_worst"] == min(row["accuracy_target"])
        assert row["backward_transfer"] == row["accuracy_source_final"] - row["accuracy_source_before"]
        assert 0 < row["macro_f1_target_final"] <= 1
        assert row["window_samples"] == 3 * 48 // 10
        assert (row["bytes_added"] > 0) == (row["updater"] != "none")
        assert row["labels_used"] == (0 if row["updater"] == "none" else 140)
        assert sum(row["decisions"].values()) == (10 if row["updater"].startswith("flip") else 0)
    still = first["rows"][0]
    assert set(still["accuracy_target"]) == {still["accuracy_target_before"]}
    assert still["accuracy_source_final"] == still["accuracy_source_before"]
    flip, taps, bp = (row["bytes_added"] for row in first["rows"][1:])
    assert max(flip, taps) < bp
    assert calls == [("train", 0, 1), ("train", 1, 1), ("prepare", 0, 1), ("prepare", 1, 1)] + [
        ("adapt", i, 4) for i in range(5)
    ]
    assert first["protocol"]["complete"]
    assert first["protocol"]["version"] == VERSION
    assert json.loads((tmp_path / "a" / "rows.json").read_text()) == first
    for name in ("accuracy", "bytes", "seconds"):
        assert (tmp_path / "a" / f"{name}-8bit.png").stat().st_size > 10_000

    resumed = []
    again = qcore.run(quick(folder, tmp_path / "a"), lambda *call: resumed.append(call))
    assert again == first
    assert resumed == []

    # An interrupted run has rows on disk but not all: only what is missing is done, here in other processes.
    rows = sorted((tmp_path / "a" / "cache" / "rows").iterdir())
    for path in rows:
        if json.loads(path.read_text())["updater"] in ("flip", "bp"):
            path.unlink()
    rest = qcore.run(quick(folder, tmp_path / "a", jobs=2), lambda *call: resumed.append(call))
    assert without_seconds(rest) == without_seconds(first)
    assert resumed == [("adapt", i, 2) for i in range(3)]


def test_ray_gives_the_same_rows(folder, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed (pip install 'calibrant[ray]')")
    some = {"updaters": ("none", "flip"), "seeds": (0, 1)}
    here = qcore.run(quick(folder, tmp_path / "here", **some))
    there = qcore.run(quick(folder, tmp_path / "there", engine="ray", jobs=2, **some))
    assert there["failures"] == []
    assert without_seconds(there) == without_seconds(here)


def test_ctrl_c_keeps_finished_rows(folder, tmp_path):
    regimes = [str(n) for n in range(1, 14)]
    command = [sys.executable, "-m", "calibrant", "bench", "qcore", "--data", folder, "--out", tmp_path, "--jobs", "2"]
    command += ["--bits", "8", "--coreset", "6", "--coreset-rule", "balanced", "--training-steps", "30", "--steps", "3"]
    command += ["--updaters", "none,flip", "--labels", ",".join(regimes), "--seeds", "0,1"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, start_new_session=True)
    rows, end = tmp_path / "cache" / "rows", time.monotonic() + 300
    while process.poll() is None and time.monotonic() < end and not (rows.is_dir() and list(rows.glob("*.json"))):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and its children
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "calibrant: interrupted (what was committed is kept)"
    assert "Traceback" not in err
    left = json.loads((tmp_path / "rows.json").read_text())
    assert left["protocol"]["rows"] == 2 * (1 + len(regimes))
    assert 0 < len(left["rows"]) < left["protocol"]["rows"]
    assert not left["protocol"]["complete"]
    assert "Unfinished" in (tmp_path / "table.md").read_text()

    kept = {path.name: path.stat().st_mtime_ns for path in rows.glob("*.json")}
    calls = []
    whole = qcore.run(
        quick(folder, tmp_path, updaters=("none", "flip"), labels=regimes, seeds=(0, 1)),
        lambda *call: calls.append(call),
    )
    assert whole["protocol"]["complete"]
    assert calls[0] == ("adapt", 0, left["protocol"]["rows"] - len(kept))
    assert kept == {name: (rows / name).stat().st_mtime_ns for name in kept}


def test_a_bad_job_loses_only_its_own_rows(folder, tmp_path, monkeypatch):
    def stumble(job, domain):
        if job.source == 2:
            raise ZeroDivisionError("no network today")
        return build(job, domain)

    build = network.build
    monkeypatch.setattr(network, "build", stumble)
    some = {"source": (1, 2), "target": (2, 1), "updaters": ("none", "flip")}
    result = qcore.run(quick(folder, tmp_path, labels=("100",), **some))
    # Networks of subject 2 cannot be built, windows have 14 samples, and no adaptation needs no labels.
    assert [(row["source"], row["updater"]) for row in result["rows"]] == [(1, "none")]
    train, adapt = result["failures"]
    assert train == {"job": "train cnn on dsa subject 2, seed 0", "reason": "ZeroDivisionError: no network today"}
    assert adapt["job"].startswith("adapt cnn on dsa 1 to 2 by flip, 8 bits, coreset 6 balanced, labels 100")
    assert adapt["reason"] == "labels: expected at most the 14 samples of a window, got 100"
    assert "in stumble" in (tmp_path / "failures.txt").read_text()
    assert not result["protocol"]["complete"]

    monkeypatch.setattr(network, "build", build)
    mended = qcore.run(quick(folder, tmp_path, **some))
    assert mended["failures"] == []
    assert len(mended["rows"]) == 4


def test_other_code_is_not_resumed(folder, tmp_path, monkeypatch):
    stages = []

    def run(**changed):
        stages.clear()
        digest = provenance.code_digest
        monkeypatch.setattr(jobs, "code_digest", lambda *parts, **how: changed.get(parts[0]) or digest(*parts, **how))
        qcore.run(quick(folder, tmp_path, updaters=("none",)), lambda stage, done, total: stages.append(stage))
        return list(dict.fromkeys(stages))

    assert run() == ["train", "prepare", "adapt"]
    assert run() == []
    assert run(**{jobs.ADAPTING[0]: "changed"}) == ["adapt"]
    assert run(**{jobs.PREPARING[0]: "changed"}) == ["prepare", "adapt"]
    assert run(**{jobs.TRAINING[0]: "changed"}) == ["train", "prepare", "adapt"]
    assert run() == []


def test_other_data_is_not_resumed(folder, tmp_path):
    write_subject(tmp_path / "data", 1)
    write_subject(tmp_path / "data", 2)
    some = quick(tmp_path / "data", tmp_path / "out", updaters=("none",))
    stages = []
    qcore.run(some)
    write_subject(tmp_path / "data", 2, seed=5)
    qcore.run(some, lambda stage, done, total: stages.append(stage))
    assert set(stages) == {"adapt"}
    write_subject(tmp_path / "data", 1, seed=5)
    qcore.run(some, lambda stage, done, total: stages.append(stage))
    assert set(stages) == {"train", "prepare", "adapt"}


def test_settings_reach_their_rows(folder, tmp_path):
    result = qcore.run(
        quick(
            folder,
            tmp_path,
            coreset=(3, 6),
            coreset_rule=("random", "misses"),
            updaters=("none", "flip"),
            labels=("all", "4", "0.5"),
            delay=1,
            capacity=20,
            windows=3,
            window=10,
        )
    )
    assert result["failures"] == []
    rows = result["rows"]
    assert len(rows) == 2 * 2 * (1 + 3)
    for row in rows:
        assert len(row["accuracy_target"]) == 3
        assert (row["window_samples"], row["capacity"]) == (10, 20)
        # The last window's labels are still on their way when the stream ends.
        used = {"0": 0, "all": 20, "4": 8, "0.5": 10}[row["labels"]]
        assert (row["labels_used"], row["delay"]) == (used, 0 if row["updater"] == "none" else 1)
    assert {(row["coreset"], row["coreset_rule"]) for row in rows} == {
        (n, r) for n in (3, 6) for r in ("random", "misses")
    }
    assert len(list((tmp_path / "cache" / "misses").iterdir())) == 1
    assert "--labels all,4,0.5 --delay 1 --capacity 20 --windows 3 --window 10" in result["protocol"]["command"]


def test_a_device_keeps_as_many_samples_as_its_coreset_has(folder, tmp_path, monkeypatch):
    kept = []

    @contextmanager
    def spy(deployed):
        kept.append(deployed.capacity)
        with adaptation.on_device("accumulated", deployed) as subject:
            yield subject

    monkeypatch.setitem(adaptation.UPDATERS, "flip", spy)
    for capacity in (None, 9):
        some = quick(folder, tmp_path, coreset=(6,), updaters=("flip",), windows=2, window=10, capacity=capacity)
        assert qcore.run(some)["failures"] == []
    assert kept == [6, 9]  # baselines' memories have the coreset's size, too


def test_a_source_streams_its_own_later_segments(folder):
    some = quick(folder, "unused", source=(1,), target=(1,), updaters=("flip",), windows=None, window=7)
    (cell,) = options.plan(some, folder)
    assert cell.quantization.training.part == "earlier"
    seen = datasets.load(folder, cell)
    assert len(seen.train[1]) == 3 * 24
    assert len(seen.stream) == 3 * 24 // 7
    streamed = np.concatenate([x for x, _ in seen.stream])
    assert not (streamed[:, None] == seen.train[0][None]).all(axis=(2, 3)).any()
    assert np.array_equal(seen.source_test[0], seen.target_test[0])


def test_settings_that_come_to_the_same_are_one_row(folder):
    some = {"labels": ("all", "4", "04", "0"), "label_choice": ("chance", "ask"), "gate": ("off", "on")}
    cells = options.plan(quick(folder, "unused", updaters=("none", "bp", "flip"), **some), folder)
    kinds = [(cell.updater, cell.labels, cell.choice, cell.gate) for cell in cells]
    assert [kind for kind in kinds if kind[0] == "none"] == [("none", "0", "chance", False)]
    assert [kind for kind in kinds if kind[0] == "bp"] == [("bp", n, "chance", False) for n in ("all", "4", "0")]
    asked = {("all", "chance"), ("4", "chance"), ("4", "ask"), ("0", "chance")}
    assert {kind[1:] for kind in kinds if kind[0] == "flip"} == {
        (*way, gate) for way in asked for gate in (False, True)
    }
    assert len(kinds) == len(set(kinds)) == 1 + 3 + 8


def test_full_takes_every_ordered_pair(folder):
    assert options.subject_pairs(quick(folder, "unused", full=True), folder) == [
        (1, 2),
        (1, 12),
        (2, 1),
        (2, 12),
        (12, 1),
        (12, 2),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": (1, 2)}, "subject pairs: expected as many targets as sources, got 2 and 1"),
        ({"target": (3,)}, "subject: expected one of 1, 2, 12 in .*, got 3"),
        ({"dataset": "mnist"}, "data set: expected one of dsa, usc_had, .*, got mnist"),
        ({"network": "small_cnn"}, "network for dsa: expected one of cnn, .*, got small_cnn"),
        ({"updaters": ("flip", "magic")}, "updater: expected one of none, .*, got magic"),
        ({"bits": (3,)}, "bits: expected one of 2, 4, 8, got 3"),
        ({"split": "folds"}, "split: expected one of segment, random, got folds"),
        ({"seeds": ()}, "seeds: expected at least one, got none"),
        ({"source": (), "target": ()}, "source: expected at least one, got none"),
        ({"coreset": (0,)}, "coreset: expected at least 1, got 0"),
        ({"capacity": 0}, "capacity: expected at least 1, got 0"),
        ({"seeds": (-1,)}, "seeds: expected no negative number, got -1"),
        ({"coreset_rule": ("best",)}, "coreset rule: expected one of random, balanced, .*, got best"),
        ({"labels": ("some",)}, "labels: expected all, a share such as 0.1 or a number a window such as 9, got some"),
        ({"labels": ("1.5",)}, "labels: expected all, a share"),
        ({"label_choice": ("luck",)}, "label choice: expected one of chance, ask, got luck"),
        ({"gate": ("ajar",)}, "gate: expected one of off, on, got ajar"),
        ({"engine": "cloud"}, "engine: expected one of local, ray, got cloud"),
        ({"data": "/nowhere"}, "data folder /nowhere: expected an existing folder"),
    ],
)
def test_bad_options_are_refused(folder, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        qcore.run(quick(folder, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()
