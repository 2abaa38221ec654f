"""What is wrong with data is said before the work, what was lost after it, and a corrupt reading costs nothing."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch

from calibrant.core.errors import DataError, ModelError
from calibrant.pipeline import torch_model
from calibrant.pipeline.verdict import verdict
from calibrant.quantize.observers import input_range

SAMPLES, STEPS = 800, 64  # 51,200 values of one channel


@pytest.fixture(scope="module")
def problem() -> tuple[torch.nn.Module, np.ndarray, np.ndarray]:
    """Frequencies, and a network that tells them apart."""
    rng = np.random.default_rng(0)
    y = np.arange(SAMPLES) % 3
    t = np.arange(STEPS) / STEPS + rng.uniform(0, 1, (SAMPLES, 1))
    x = (np.sin(2 * np.pi * (2 + 3 * y[:, None]) * t)[:, None] + 0.1 * rng.standard_normal((SAMPLES, 1, STEPS))).astype(
        np.float32
    )
    torch.manual_seed(0)
    layers = (torch.nn.Conv1d(1, 8, 9), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    net = torch.nn.Sequential(*layers, torch.nn.Linear(8, 3))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    return net.eval(), x, y


def prepared(problem: tuple, x: np.ndarray, **options: object) -> torch_model.Prepared:
    usual = {"bits": 8, "coreset": 6, "epochs": 0, "standardize": False}
    return torch_model.prepare(problem[0], x, problem[2], **usual | options)


def test_one_corrupt_reading_costs_nothing(problem: tuple) -> None:
    x = problem[1].copy()
    x[3, 0, 5] = 1000
    report = prepared(problem, x).report
    assert report["accuracy_float"] > 0.99
    assert report["accuracy_quantized"] > report["accuracy_float"] - 0.01
    assert "verdict" not in report


def test_ranges_of_sound_data_are_their_bounds() -> None:
    rng = np.random.default_rng(1)
    sparse = rng.normal(size=60_000) + 60.0 * (rng.random(60_000) < 5e-4)  # a spike is a reading too
    heavy = (rng.normal(size=60_000), rng.laplace(size=60_000), rng.standard_t(3, 60_000), sparse)
    for x in (*heavy, rng.random(20) + 1e6, np.zeros(9)):
        values = x.astype(np.float32)
        assert input_range(values) == (float(values.min()), float(values.max()))


@pytest.mark.parametrize("factor", [2.0**-40, 2.0**-10, 2.0**20])
def test_units_do_not_matter(problem: tuple, factor: float) -> None:
    """The same readings in other units, and a network for them: the same codes. Floors are relative to the data."""
    net = copy.deepcopy(problem[0])
    with torch.no_grad():
        net[0].weight /= factor
    usual = prepared(problem, problem[1]).artifact
    scaled = prepared((net, None, problem[2]), problem[1] * np.float32(factor)).artifact
    assert (usual.constants.weights == scaled.constants.weights).all()
    assert (usual.coreset.x == scaled.coreset.x).all()


def test_samples_are_standardized_where_float_does_better(problem: tuple) -> None:
    offset = copy.deepcopy(problem[0])  # for readings about 5
    with torch.no_grad():
        offset[0].bias -= 5 * offset[0].weight.sum((1, 2))
    raw = prepared((offset, None, problem[2]), problem[1] + 5, standardize=None).artifact.preprocess
    standardized = prepared(problem, problem[1] * 7 + 30, standardize=None).artifact.preprocess
    assert (raw.mean == 0).all()
    assert (raw.std == 1).all()
    assert standardized.std == pytest.approx(7 * problem[1].std(), rel=1e-3)


@pytest.mark.parametrize(
    ("change", "classes", "remedy"),
    [
        (lambda y: y + 1, None, "subtract 1"),
        (lambda y: y + 1, ("a", "b", "c"), "subtract 1"),
        (lambda y: np.where(y == 2, 1, y), None, "name all 3 classes"),
        (lambda y: np.where(y == 2, 4, y), None, "give the model 5 outputs"),
        (lambda y: y, ("a", "b"), "expected classes 0 to 1"),
        (lambda y: y, ("a", "b\n", "c"), "printable"),
    ],
)
def test_classes_are_compared_before_work(problem: tuple, change: object, classes: tuple | None, remedy: str) -> None:
    said: list[str] = []
    report = lambda stage, done, total: said.append(stage)  # noqa: E731
    with pytest.raises(DataError, match=re.escape(remedy)):
        torch_model.prepare(problem[0], problem[1], change(problem[2]), classes=classes, progress=report)
    assert set(said) <= {"export"}


def test_a_class_without_samples_is_fine_when_named(problem: tuple) -> None:
    y = np.where(problem[2] == 2, 1, problem[2])
    made = torch_model.prepare(problem[0], problem[1], y, classes=("a", "b", "c"), coreset=6, epochs=0, bits=8)
    assert made.artifact.classes == ("a", "b", "c")


def test_outputs_are_a_vector(problem: tuple) -> None:
    with pytest.raises(ModelError, match=r"expected outputs \[N, classes\]"):
        torch_model.check(torch.nn.Conv1d(1, 3, 3), problem[1], problem[2])


def test_the_verdict_names_a_layer_and_what_to_try(problem: tuple) -> None:
    net = prepared(problem, problem[1], bits=2).net
    assert verdict(net, problem[1], 0.9, 0.89) is None
    assert re.fullmatch(
        r"integers lose 10\.0 points of accuracy against float \(0\.900 to 0\.800\), most at layer '\w+' "
        r"\(signal to noise -?\d+ dB\): try more bits or more epochs of fine-tuning",
        verdict(net, problem[1], 0.9, 0.8),
    )


def test_the_verdict_names_an_input_without_codes(problem: tuple) -> None:
    x = problem[1].copy()
    x[::100, 0, :50] = 1e3  # too many to be corrupt
    made = prepared(problem, x)
    assert "most at the input" in verdict(made.net, x, 0.9, 0.8)
