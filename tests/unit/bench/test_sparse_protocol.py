"""`bench sparse` on a small network and made-up pictures: rows, resuming, failing, searching, refusing, tables."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibrant.autodiff import Scheme
from calibrant.bench import sparse
from calibrant.bench.reports import page
from calibrant.bench.sparse import jobs, options, rates, row, schemes, search, table
from calibrant.core.errors import BudgetError, DataError
from tinyml import BACKBONE, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data"))


def quick(folder, out, **changes):
    plain = sparse.Options(
        out=out, data=folder, schemes=("classifier", "last-2"), methods=("qas", "float"), seeds=(0,),
        train=80, test=60, epochs=2, jobs=1, rate=0.5,
    )  # fmt: skip
    return replace(plain, **changes)


def without_seconds(result):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in result["rows"]]


def test_rows_resume_and_repeat(folder, tmp_path):
    calls = []
    first = sparse.run(quick(folder, tmp_path / "a"), lambda *call: calls.append(call))
    assert calls == [("train", n, 4) for n in range(5)]
    assert [(r["scheme"], r["method"]) for r in first["rows"]] == [
        ("classifier", "qas"),
        ("classifier", "float"),
        ("last-2", "qas"),
        ("last-2", "float"),
    ]
    for made in first["rows"]:
        assert len(made["losses"]) == 3
        assert made["losses"][-1] < made["losses"][0]
        assert 0 <= made["accuracy"] <= 1
        assert made["diverged"] == ""
        assert (made["arena_bytes"] is None) == (made["method"] == "float")
    few, more = first["rows"][0], first["rows"][2]
    assert (few["extra_bytes"], few["parameters"]) == (8, 8 * 10 + 10)
    assert more["extra_bytes"] > few["extra_bytes"]
    assert more["macs_backward"] > few["macs_backward"]
    assert first["protocol"]["complete"]
    assert json.loads((tmp_path / "a" / "rows.json").read_text()) == first
    for name in ("extra.png", "arena.png"):
        assert (tmp_path / "a" / name).read_bytes().startswith(b"\x89PNG")

    calls.clear()
    assert sparse.run(quick(folder, tmp_path / "a"), lambda *call: calls.append(call)) == first
    assert calls == []
    again = sparse.run(quick(folder, tmp_path / "b"))
    assert without_seconds(again) == without_seconds(first)


def test_an_interrupted_run_keeps_finished_rows(folder, tmp_path, monkeypatch):
    def interrupt(stage, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sparse.run(quick(folder, tmp_path), interrupt)
    left = json.loads((tmp_path / "rows.json").read_text())
    assert len(left["rows"]) == 2
    assert not left["protocol"]["complete"]
    assert "**Unfinished: 2 of 4 rows are missing.**" in (tmp_path / "table.md").read_text()
    calls = []
    assert sparse.run(quick(folder, tmp_path), lambda *call: calls.append(call))["protocol"]["complete"]
    assert calls[0] == ("train", 0, 2)


def test_a_bad_row_leaves_the_others(folder, tmp_path):
    result = sparse.run(quick(folder, tmp_path, schemes=("classifier", "searched 1:6x0.01")))
    assert [failure["job"] for failure in result["failures"]] == [
        f"mcunet-5fps on cifar10, searched 1:6x0.01 by {method}, seed 0" for method in ("qas", "float")
    ]
    assert "a share of 0.01 is none of its 24 channels" in result["failures"][0]["reason"]
    assert [made["scheme"] for made in result["rows"]] == ["classifier", "classifier"]
    assert "Traceback" in (tmp_path / "failures.txt").read_text()


def test_other_code_or_data_is_another_row(folder, tmp_path, monkeypatch):
    cell = options.plan(quick(folder, tmp_path), folder)[0]
    assert cell == options.plan(quick(folder, tmp_path), folder)[0]
    monkeypatch.setattr(jobs, "code_digest", lambda *parts, **how: "other")
    assert cell != options.plan(quick(folder, tmp_path), folder)[0]


def test_divergence_is_said(folder, tmp_path):
    result = sparse.run(quick(folder, tmp_path, schemes=("full",), rate=50.0))
    assert all(made["diverged"] for made in result["rows"])
    line = next(line for line in table.page(result).splitlines() if line.startswith("| full | float"))
    assert "| loss " in line


def test_what_a_budget_does_not_hold_is_marked(folder, tmp_path):
    result = sparse.run(quick(folder, tmp_path, methods=("qas",)))
    sizes = {made["scheme"]: made["arena_bytes"] + made["trained_bytes"] for made in result["rows"]}
    between = (sizes["classifier"] + sizes["last-2"]) // 2
    page = table.page(sparse.run(quick(folder, tmp_path, methods=("qas",), budget=between)))
    assert "| classifier | qas |" in page
    assert "| last-2* | qas |" in page
    assert f"budget of {between:,} bytes are marked *" in page


def test_the_results_page_takes_its_tables(folder, tmp_path):
    result = sparse.run(quick(folder, tmp_path / "small", schemes=("last-2",)))
    text = page.page("{{table:small}}\n\n{{against:small}}", tmp_path)
    assert table.rows(result) in text
    assert table.differences(result["rows"]) in text
    assert f"{result['protocol']['command'][:40]}" in text


def test_methods_are_compared_seed_by_seed():
    rows = [
        {"scheme": scheme, "method": method, "seed": seed, "accuracy": accuracy}
        for scheme, method, seed, accuracy in [
            ("a", "qas", 0, 0.5),
            ("a", "qas", 1, 0.7),
            ("a", "plain", 0, 0.4),
            ("a", "plain", 1, 0.5),
            ("b", "plain", 0, 0.1),
        ]
    ]
    assert table.differences(rows).splitlines()[2:] == ["| a | plain | +15.0 ± 7.1 |"]


def test_the_search_stays_within_its_budget(folder, tmp_path, monkeypatch):
    for name, value in {
        "LAYERS": 3,
        "COUNTS": (1, 3),
        "EPOCHS": 1,
        "SAMPLES": 40,
        "JUDGES": 40,
        "EVALUATIONS": 100,
    }.items():
        monkeypatch.setattr(search, name, value)
    calls = []
    asked = quick(folder, tmp_path, schemes=("classifier",), methods=("qas",), budget=16000, search=True)
    result = sparse.run(asked, lambda *call: calls.append(call))
    found = result["rows"][-1]
    assert found["scheme"].startswith("searched ")
    assert found["arena_bytes"] + found["trained_bytes"] <= 16000
    assert calls[0][0] == "contributions"
    assert calls[-1] == ("train", 2, 2)
    calls.clear()
    assert sparse.run(asked, lambda *call: calls.append(call)) == result  # all of it was kept
    assert calls == []
    with pytest.raises(BudgetError, match="scheme search: expected at most 100 bytes"):
        sparse.run(replace(asked, budget=100))


@given(st.none() | st.integers(0, 42), st.dictionaries(st.integers(0, 41), st.sampled_from([0.125, 0.25, 0.5, 1.0])))
def test_a_searched_scheme_is_spelled_out(biases, weights):
    scheme = Scheme(biases, weights)
    assert schemes.resolve(schemes.spelled(scheme), "mcunet-5fps", 42) == scheme


def test_default_rows_are_of_all_kinds():
    rows = schemes.rows("mcunet-5fps", None, None)
    assert ("classifier", "qas") in rows
    assert [method for scheme, method in rows if scheme == "99KB"] == list(schemes.COMPARED_METHODS)
    assert [scheme for scheme, _ in schemes.rows("mbv2-w0.35", ("published",), None)] == [
        *("49KB", "73KB", "99KB", "99KB", "99KB", "99KB", "123KB", "138KB")
    ]
    assert set(rates.RATES) == set(schemes.METHODS)


def test_direct_rounding_takes_one_sample_at_a_time(folder, tmp_path):
    cells = options.plan(quick(folder, tmp_path, methods=("qas-direct", "qas")), folder)
    assert [cell.recipe.batch for cell in cells] == [1, 16, 1, 16]


def test_judges_for_tuning_train_nobody(folder, tmp_path):
    about = options.plan(quick(folder, tmp_path), folder)[0].subject
    plain, held = row.load(folder, about), row.load(folder, replace(about, held=True))
    assert (plain.pixels == held.pixels).all()
    assert plain.test.tobytes() != held.test.tobytes()
    trained = {image.tobytes() for image in row.codes(held.pixels, held.size)}  # type: ignore[attr-defined]
    assert not trained & {image.tobytes() for image in held.test}


def test_the_command_says_what_was_asked(folder, tmp_path):
    assert options.command(quick(folder, tmp_path)) == (
        "calibrant bench sparse --schemes classifier,last-2 --methods qas,float --seeds 0 --train 80 --test 60 "
        "--epochs 2 --rate 0.5"
    )
    assert options.command(sparse.Options(tmp_path, full=True)) == "calibrant bench sparse --full"
    assert BACKBONE == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "resnet"}, "model: expected one of mbv2-w0.35, .*, got 'resnet'"),
        ({"model": "mbv2-w0.35"}, "mbv2-w0.35.json: expected a readable file"),
        ({"task": "cars"}, "task: expected one of cifar10, fashion, got 'cars'"),
        ({"schemes": ("best",)}, "scheme: expected classifier, bias, .*, got 'best'"),
        ({"schemes": ("7KB",)}, "published scheme of mcunet-5fps: expected a budget of 49KB, .*, got '7KB'"),
        ({"schemes": ("searched x",)}, "scheme: expected 'searched BIASES:LAYERxSHARE.*, got 'searched x'"),
        ({"methods": ("adam",)}, "method: expected one of qas, qas-direct, plain, float, got 'adam'"),
        ({"seeds": ()}, "seeds: expected no negative number, got none"),
        ({"train": 0}, "train: expected at least 1, got 0"),
        ({"rate": 0.0}, "rate: expected a number above 0, got 0.0"),
        ({"search": True}, "search: expected a budget to search under, got none"),
        ({"engine": "cloud"}, "engine: expected one of local, ray, got cloud"),
    ],
)
def test_bad_options_are_refused(folder, tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        sparse.run(quick(folder, tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()
