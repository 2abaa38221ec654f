"""`calibrant bench` as a user types it, on a small made-up data folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import calibrant

from subjects import write_subject
from tinyml import write_folder

QUICK = ("--bits", 8, "--coreset", 6, "--training-steps", 30, "--steps", 3, "--jobs", 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for number in (1, 2):
        write_subject(root, number)
    return root


def test_a_run_its_table_and_the_page(data: Path, tmp_path: Path) -> None:
    command = ("bench", "qcore", "--data", data, "--out", tmp_path / "few", *QUICK, "--updaters", "none,flip,bp")
    ran = calibrant(*command, "--labels", "all,3", "--coreset-rule", "balanced")
    assert ran.status == 0, ran.err
    assert ran.out == (tmp_path / "few" / "table.md").read_text()
    assert "## flip against the others" in ran.out
    assert [line.split(" in ")[0] for line in ran.err.splitlines()] == ["train 1/1", "prepare 1/1", "adapt 5/5"]

    again = calibrant(*command, "--labels", "all,3", "--coreset-rule", "balanced", "--json")
    facts = json.loads(again.out)
    assert again.err == ""
    assert facts == json.loads((tmp_path / "few" / "rows.json").read_text())
    assert [row["labels_used"] for row in facts["rows"]] == [0, 140, 30, 140, 30]

    (tmp_path / "page.template.md").write_text("# Few labels\n\n{{table:few}}\n")
    page = ("bench", "report", "--runs", tmp_path, "--template", tmp_path / "page.template.md")
    assert calibrant(*page, "--out", tmp_path / "page.md").status == 0
    text = (tmp_path / "page.md").read_text()
    assert text.startswith(
        "<!-- Written by `calibrant bench report` from page.template.md: edit that one. -->\n\n# Few"
    )
    assert "--labels all,3 --steps 3 --training-steps 30 --data DATA --out OUT/few\n```" in text


def test_a_failed_row_is_named_and_the_others_are_there(data: Path, tmp_path: Path) -> None:
    ran = calibrant(
        "bench", "qcore", "--data", data, "--out", tmp_path, *QUICK, "--updaters", "none,flip", "--labels", "99"
    )
    assert ran.status == 2
    assert "| none |" in ran.out
    last = ran.err.splitlines()[-1]
    assert last.startswith("calibrant: 1 jobs failed, 1 rows are missing (")
    assert last.endswith("labels: expected at most the 14 samples of a window, got 99")
    assert "Traceback" in (tmp_path / "failures.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--full", "--source", "1"), "--full: expected no --source and --target beside it, got them"),
        (("--labels", "many"), "labels: expected all, a share such as 0.1 or a number a window such as 9, got many"),
        (("--engine", "horse"), "engine: expected one of local, ray, got horse"),
        (("--source", "1,2"), "subject pairs: expected as many targets as sources, got 2 and 1"),
        (("--coreset", "ten"), "--coreset: expected numbers separated by commas, got 'ten'"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(
    data: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    ran = calibrant("bench", "qcore", "--data", data, "--out", tmp_path / "out", *arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == f"calibrant: {message}\n"
    assert not (tmp_path / "out").exists()


def test_a_page_without_its_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.md").write_text("{{table:gone}}")
    page = ("bench", "report", "--runs", tmp_path, "--template", tmp_path / "t.md", "--out", tmp_path / "p.md")
    refused = calibrant(*page)
    assert (refused.status, refused.out) == (2, "")
    assert "expected gone too, got no rows.json there" in refused.err
    assert not (tmp_path / "p.md").exists()
    assert calibrant(*page, "--partial").status == 0
    assert "*Not run yet: gone.*" in (tmp_path / "p.md").read_text()


def test_sparse_training_and_its_table(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    command = (
        "bench",
        "sparse",
        "--data",
        write_folder(root),
        "--out",
        tmp_path / "out",
        "--schemes",
        "classifier,last-2",
    )
    command += (
        "--train",
        80,
        "--test",
        60,
        "--epochs",
        1,
        "--seeds",
        0,
        "--rate",
        0.5,
        "--jobs",
        2,
        "--budget",
        "16KB",
    )
    ran = calibrant(*command)
    assert ran.status == 0, ran.err
    assert ran.out == (tmp_path / "out" / "table.md").read_text()
    assert [line.split(" in ")[0] for line in ran.err.splitlines()][-1] == "train 2/2"
    again = calibrant(*command, "--json")
    assert json.loads(again.out) == json.loads((tmp_path / "out" / "rows.json").read_text())
    assert again.err == ""
    wrong = calibrant(*command, "--methods", "adam")
    assert wrong.status == 2
    assert wrong.err == "calibrant: method: expected one of qas, qas-direct, plain, float, got 'adam'\n"
