"""Tables and pictures from rows."""

import json

import numpy as np
import pytest
from PIL import Image

from calibrant.bench import adaptation
from calibrant.bench.reports import plots, tables


def row(updater="flip", seed=0, mean=0.9, source=1, target=2, bits=4, **changes):
    curve = np.linspace(mean - 0.05, mean + 0.05, 10).tolist()
    cost = 0 if updater == "none" else 1
    return {
        "source": source,
        "target": target,
        "bits": bits,
        "coreset": 20,
        "coreset_rule": "misses",
        "labels": "all",
        "label_choice": "chance",
        "labels_used": 910 * cost,
        "delay": 0,
        "capacity": None,
        "gate": "off",
        "windows_untouched": 0,
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
        "backward_transfer": -0.03,
        "seconds_per_window": 0.25 * cost,
        "bytes_added": 12_345 * cost,
        **changes,
    }


def result(rows, complete=True):
    about = {
        "name": "qcore",
        "command": "calibrant bench qcore --dataset dsa",
        "dataset": "dsa",
        "network": "cnn",
        "split": "random",
        "windows": 10,
        "coreset": [20],
        "coreset_rule": ["misses"],
        "seeds": sorted({r["seed"] for r in rows}),
        "rows": len(rows) + (not complete),
        "complete": complete,
    }
    return {"protocol": about, "rows": rows, "failures": []}


def test_means_and_deviations_over_seeds():
    text = tables.table(result([row(seed=0, mean=0.8), row(seed=1, mean=0.9), row("none", seed=0, mean=0.5)]))
    assert "| 1 | 2 | 4 | flip | 30 | 910 | 0.500 ± 0.000 | **0.850 ± 0.071** |" in text
    assert "| 1 | 2 | 4 | none | 30 | 0 | 0.500 | **0.500** |" in text
    assert "| 0.250 | 12 |" in text
    assert "10 windows, coreset 20 (misses), seeds 0, 1." in text
    assert "All pairs" not in text
    assert "Unfinished" not in text


def test_several_pairs_get_a_summary_with_spread_over_pairs_and_seeds():
    means = {(1, 2): (0.8, 0.9), (3, 5): (0.6, 0.7)}
    rows = [row(mean=m, seed=i, source=s, target=t) for (s, t), pair in means.items() for i, m in enumerate(pair)]
    text = tables.table(result(rows, complete=False))
    assert "## All pairs" in text
    # over pairs: deviation of 0.85 and 0.65; over seeds: that of 0.8 and 0.9 in both
    assert "| 4 | flip | 4 | 910 | **0.750 ± 0.141 ± 0.071** | 0.650 | 0.800 | 0.970 ± 0.000 ± 0.000 | -0.030 |" in text
    assert "**Unfinished: 1 of 5 rows are missing.**" in text
    assert "± 0.141 |" in tables.summary(rows[::2]).replace("**", "")


def test_settings_stand_in_a_column_only_where_they_vary():
    rows = [row("none", labels="0"), row(labels="9", labels_used=90, mean=0.8), row(mean=0.9)]
    assert tables.varied(rows) == ["labels"]
    assert "| 1 | 2 | 4 | 9 | flip | 30 | 90 |" in tables.each_pair(rows)
    assert tables.varied([row("none", labels="0"), row()]) == []
    assert tables.varied([row(), row(coreset=10), row(gate="on")]) == ["coreset", "gate"]


def test_a_gate_says_how_many_windows_it_left_alone():
    rows = [row(), row(gate="on", windows_untouched=9, seed=0), row(gate="on", windows_untouched=8, seed=1)]
    text = tables.each_pair(rows)
    assert text.splitlines()[0].endswith("| KB added | untouched |")
    assert [line.split(" | ")[-1] for line in text.splitlines()[2:]] == ["0% |", "85% |"]
    assert tables.summary(rows).splitlines()[-1].endswith("| 12 | 85% |")
    assert "untouched" not in tables.each_pair(rows[:1])


def test_differences_are_taken_row_by_row():
    rows = [row(seed=s, mean=m) for s, m in ((0, 0.9), (1, 0.8))]
    rows += [row("bp", seed=s, mean=m, accuracy_source_final=0.9) for s, m in ((0, 0.8), (1, 0.82))]
    text = tables.differences(rows)
    assert "| 4 | bp | +0.040 ± 0.085 | +0.070 ± 0.000 | 1 of 2 |" in text
    assert tables.differences(rows[:2]) == ""
    assert tables.differences(rows[2:]) == ""


def test_a_row_that_stands_for_all_settings_is_compared_with_each():
    rows = [row("none", labels="0", mean=0.5), *(row(labels=n, mean=m) for n, m in (("9", 0.7), ("all", 0.9)))]
    text = tables.differences(rows)
    assert "| 4 | 9 | none | +0.200 |" in text
    assert "| 4 | all | none | +0.400 |" in text


def test_files_are_written(tmp_path):
    rows = [
        row(updater, seed, mean, bits=bits)
        for updater, mean in (("none", 0.5), ("flip", 0.9))
        for seed in (0, 1)
        for bits in (2, 8)
    ]
    tables.write(tmp_path / "new", result(rows))
    assert json.loads((tmp_path / "new" / "rows.json").read_text())["rows"] == rows
    drawn = {f"{name}-{bits}bit.png" for name in ("accuracy", "bytes", "seconds") for bits in (2, 8)}
    assert {p.name for p in (tmp_path / "new").iterdir()} == drawn | {"rows.json", "table.md"}
    for name in drawn:
        with Image.open(tmp_path / "new" / name) as picture:
            assert min(picture.size) > 700
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50


def test_unfinished_runs_draw_nothing(tmp_path):
    tables.write(tmp_path, result([row()], complete=False))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.json", "table.md"]


def test_streams_of_different_lengths_and_all_settings_can_be_drawn(tmp_path):
    short = row("bp", source=3)
    short["accuracy_target"] = short["accuracy_target"][:4]
    names = [*adaptation.UPDATERS, "tomorrow"]
    more = [row(labels=text) for text in ("9", "0", "0.1")]
    rows = [*(row(name, mean=0.6) for name in names), row("bp"), short, *more]
    plots.draw(tmp_path, rows, tables.varied(rows))
    series = plots.series_of(rows, ["labels"])
    assert len(series) == len(names) + 3
    assert len({one.label for one in series}) == len(series)
    assert {"flip all labels", "flip 9 labels", "flip no labels", "flip 10 % labels", "bp", "tomorrow"} <= {
        one.label for one in series
    }


def test_an_updater_has_its_own_color():
    assert set(plots.COLORS) <= set(adaptation.UPDATERS)
    assert len({*plots.COLORS.values(), *plots.OTHERS}) == len(plots.COLORS) + len(plots.OTHERS)
    rows = [row(), row("bp"), row(bits=2)]
    colors = [{one.label: one.color for one in plots.series_of(some, [])} for some in (rows, rows[:1])]
    assert colors[0]["flip"] == colors[1]["flip"] == plots.COLORS["flip"]


def test_nothing_paid_and_one_point_can_be_drawn(tmp_path):
    plots.draw(tmp_path / "none", [row("none")])
    plots.draw(tmp_path / "one", [row("flip")])
    assert len(list(tmp_path.glob("*/*.png"))) == 6


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_blending_with_white_only_lightens(share):
    before, after = ([int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in ("#123456", plots.blend("#123456", share)))
    assert all(a <= b for a, b in zip(before, after, strict=True))
