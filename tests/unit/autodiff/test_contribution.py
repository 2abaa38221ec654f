"""The table of contributions: what is trained for it, that it adds up, and that it survives interruptions."""

import json

import pytest

from calibrant.autodiff import Scheme, analyze, bias_only, classifier
from calibrant.autodiff.contribution import Contributions
from calibrant.core.errors import DataError, ModelError


class Accuracy:
    """An additive truth, and a record of what was trained."""

    def __init__(self, limit=None):
        self.asked, self.limit = [], limit

    def __call__(self, scheme):
        if self.limit is not None and len(self.asked) >= self.limit:
            raise KeyboardInterrupt
        self.asked.append(scheme)
        return 0.5 + 0.02 * scheme.biases + sum(0.01 * layer * share for layer, share in scheme.weights.items())


def test_gains_are_differences():
    accuracy, seen = Accuracy(), []
    table = analyze(accuracy, [3, 5], [2, 4], shares=(0.5, 1.0), progress=lambda *counts: seen.append(counts))
    assert table.classifier == 0.5
    assert table.biases == pytest.approx({2: 0.04, 4: 0.08})
    assert table.weights == pytest.approx({(3, 0.5): 0.015, (3, 1.0): 0.03, (5, 0.5): 0.025, (5, 1.0): 0.05})
    assert accuracy.asked == [classifier(), bias_only(2), bias_only(4), Scheme(4, {3: 0.5}), Scheme(4, {3: 1.0}),
                              Scheme(4, {5: 0.5}), Scheme(4, {5: 1.0})]  # fmt: skip
    assert seen == [(i, 7) for i in range(1, 8)]
    assert (table.layers, table.shares(5)) == ((3, 5), (0.5, 1.0))


def test_contributions_add_up():
    table = analyze(Accuracy(), [3, 5], [2, 4], shares=(0.5, 1.0))
    assert table.gain(Scheme(3, {3: 1.0, 5: 0.5}), 6) == pytest.approx(0.06 + 0.03 + 0.025)
    assert [table.bias_gain(n) for n in (0, 1, 4, 6)] == pytest.approx([0, 0.02, 0.08, 0.08])
    assert table.gain(bias_only(), 4) == pytest.approx(0.08)
    for weights in ({4: 1.0}, {3: 0.25}, {3: (0, 1)}):
        with pytest.raises(ModelError, match="expected an analyzed share of its weights"):
            table.gain(Scheme(3, weights), 6)


def test_an_interrupted_analysis_goes_on(tmp_path):
    path, settings = tmp_path / "table.json", {"seed": 0, "epochs": 2}
    with pytest.raises(KeyboardInterrupt):
        analyze(Accuracy(limit=3), [3, 5], [2], settings=settings, cache=path)
    rest = Accuracy()
    table = analyze(rest, [3, 5], [2], settings=settings, cache=path)
    assert len(rest.asked) == 2 + 2 * 4 - 3
    assert table == analyze(Accuracy(), [3, 5], [2])
    nothing = Accuracy(limit=0)
    assert analyze(nothing, [3, 5], [2], settings={"epochs": 2, "seed": 0}, cache=path) == table
    other = Accuracy()
    analyze(other, [3, 5], [2], settings=settings | {"seed": 1}, cache=path)
    assert len(other.asked) == 10
    assert [entry["settings"] for entry in json.loads(path.read_text()).values()].count(settings) == 1
    assert analyze(nothing, [3, 5], [2], settings=settings, cache=path) == table


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}', '{"a": {"accuracies": []}}'])
def test_files_that_are_something_else(tmp_path, text):
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(DataError, match=r"table.json: expected a table of contributions"):
        analyze(Accuracy(), [1], [1], cache=tmp_path / "table.json")


@pytest.mark.parametrize(("layers", "counts"), [([1, 1], [1]), ([1], []), ([1], [2, 2]), ([1], [0])])
def test_impossible_tables_are_refused(layers, counts):
    with pytest.raises(ModelError, match="expected distinct values, counts from 1"):
        analyze(Accuracy(), layers, counts)


def test_a_table_is_a_value():
    table = Contributions(0.1, {1: 0.2}, {(0, 1.0): 0.3})
    assert table == Contributions(0.1, {1: 0.2}, {(0, 1.0): 0.3})
