"""The results page: prose from the template, tables from runs, a command under each."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_tables import result, row

from calibrant.bench.qcore import options
from calibrant.bench.reports import page
from calibrant.core.errors import DataError


@pytest.fixture
def runs(tmp_path):
    one = result([row(), row("none", mean=0.5)])
    several = result([row(source=s, target=t, mean=m) for s, t, m in ((1, 2, 0.8), (3, 4, 0.9))])
    several["protocol"]["command"] += " --source 1,3 --target 2,4" + " --updaters " + ",".join(["flip"] * 20)
    for name, content in (("one", one), ("several", several)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rows.json").write_text(json.dumps(content))
    return tmp_path


def test_tables_come_with_their_commands(runs):
    text = page.page("# Title\n\nWords.\n\n{{table:one}}\n\nMore {{against:one}} and {{table:several}}", runs)
    assert text.startswith("# Title\n\nWords.\n\nSplit `random`")
    assert "| 1 | 2 | 4 | flip |" in text
    assert text.count("calibrant bench qcore --dataset dsa --data DATA --out OUT/one\n") == 2
    assert "| 4 | flip | 2 | 910 | **0.850 ± 0.071** | 0.800 |" in text
    assert "{{" not in text
    continued = text[text.rindex("```", 0, -3) :]
    assert " \\\n    --updaters flip,flip" in continued
    assert continued.rstrip("`\n").endswith("--out OUT/several")


def test_missing_runs_are_all_named(runs):
    with pytest.raises(DataError, match=r"expected three, four too, got no rows.json there"):
        page.page("{{table:one}} {{table:three}} {{pairs:four}}", runs)
    text = page.page("{{table:three}} {{table:one}}", runs, partial=True)
    assert text.startswith("*Not run yet: three.* Split")


def test_unknown_places_and_damaged_rows_are_refused(runs):
    with pytest.raises(DataError, match=r"expected table or pairs or against before the colon, got \{\{chart:one\}\}"):
        page.page("{{chart:one}}", runs)
    for content in ("{", "[]", '{"rows": [], "protocol": {"command": ""}}', '{"rows": [1], "protocol": {}}'):
        (runs / "one" / "rows.json").write_text(content)
        with pytest.raises(DataError, match="expected the rows of a benchmark, got something else"):
            page.page("{{table:one}}", runs)


def test_a_command_names_what_is_not_a_default():
    plain = options.Options(Path("out"), data=Path("data"), jobs=2, engine="ray", resume=False)
    start = "calibrant bench qcore --dataset dsa --network cnn --source 1 --target 2 --bits 2,4,8 --coreset 20"
    assert options.command(plain) == f"{start} --updaters none,flip,flip-taps,bp --seeds 0"
    changed = replace(plain, full=True, gate=("off",), capacity=40, label_choice=("chance", "ask"), split="random")
    line = options.command(changed)
    assert "--full" in line
    assert "--source" not in line
    assert line.endswith("--split random --seeds 0 --label-choice chance,ask --capacity 40 --gate off")


def test_every_table_of_the_page_has_its_run():
    root = Path(__file__).parents[3]
    template = (root / "docs" / "results.template.md").read_text()
    script = (root / "benchmarks" / "results.sh").read_text()
    named = {name for _, name in page.PLACE.findall(template)}
    assert named == {line.split()[1] for line in script.splitlines() if line.startswith("run ")}
    assert {kind for kind, _ in page.PLACE.findall(template)} <= set(page.KINDS)
