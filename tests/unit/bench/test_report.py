"""Tables and pictures from rows."""

import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from calibrant.bench import report


def row(updater="flip", seed=0, mean=0.9, source=1, target=2, bits=4):
    curve = np.linspace(mean - 0.05, mean + 0.05, 10).tolist()
    return {
        "source": source,
        "target": target,
        "bits": bits,
        "updater": updater,
        "steps": 30,
        "seed": seed,
        "dataset": "dsa",
        "network": "cnn",
        "accuracy_target_before": 0.5,
        "accuracy_target": curve,
        "accuracy_target_mean": float(np.mean(curve)),
        "accuracy_source_before": 1.0,
        "accuracy_source_final": 0.97,
        "seconds_per_window": 0.25,
        "bytes_added": 12_345,
    }


def result(rows, complete=True):
    about = {
        "name": "qcore",
        "dataset": "dsa",
        "network": "cnn",
        "split": "random",
        "windows": 10,
        "coreset": 20,
        "coreset_rule": "balanced",
        "seeds": sorted({r["seed"] for r in rows}),
        "complete": complete,
    }
    return {"protocol": about, "rows": rows}


def test_means_and_deviations_over_seeds():
    text = report.table(result([row(seed=0, mean=0.8), row(seed=1, mean=0.9), row("none", seed=0, mean=0.5)]))
    assert "| 1 | 2 | 4 | flip | 30 | 0.500 ± 0.000 | **0.850 ± 0.071** |" in text
    assert "| 1 | 2 | 4 | none | 30 | 0.500 | **0.500** |" in text
    assert "| 0.250 | 12 |" in text
    assert "All pairs" not in text
    assert "Unfinished" not in text


def test_several_pairs_get_a_summary():
    text = report.table(result([row(mean=0.8), row(mean=0.6, source=3, target=5)], complete=False))
    assert "## All pairs" in text
    assert "| 4 | flip | 30 | 0.500 ± 0.000 | **0.700 ± 0.141** |" in text
    assert "Unfinished" in text


def test_files_are_written(tmp_path):
    rows = [
        row(updater, seed, mean, bits=bits)
        for updater, mean in (("none", 0.5), ("flip", 0.9))
        for seed in (0, 1)
        for bits in (2, 8)
    ]
    report.write(tmp_path / "new", result(rows))
    assert json.loads((tmp_path / "new" / "rows.json").read_text())["rows"] == rows
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "accuracy-2bit.png",
        "accuracy-8bit.png",
        "rows.json",
        "table.md",
    ]
    with Image.open(tmp_path / "new" / "accuracy-2bit.png") as picture:
        assert picture.size == (1125, 660)
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_unfinished_runs_draw_nothing(tmp_path):
    report.write(tmp_path, result([row()], complete=False))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.json", "table.md"]


@pytest.mark.parametrize("heights", [[0.5], [0.5, 0.5, 0.5], [0.1, 0.9, 0.92]])
def test_labels_do_not_overlap(heights):
    placed = report._apart(heights)
    assert all(b - a >= 0.05 - 1e-9 for a, b in pairwise(placed))
    assert placed[-1] == heights[-1]
