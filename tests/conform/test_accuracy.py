"""Accuracy after quantization on a real sensor data set, measured on the C engine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from calibrant import data, frontend, passes, zoo
from calibrant.core.logits import logits
from calibrant.core.statistics import Preprocess
from calibrant.engine import Engine
from calibrant.graph.graph import Graph
from calibrant.pipeline.float_training import TrainingSettings, accuracy, train
from calibrant.plan import lower
from calibrant.quantize import FakeQuantNet, annotate, finetune, observe_ranges, to_integer

FOLDER = Path(os.environ.get("CALIBRANT_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not (FOLDER / "dsa").is_dir(), reason=f"no dsa in {FOLDER}; set CALIBRANT_DATA")

Samples = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def trained() -> Iterator[tuple[Graph, float, Samples, Samples]]:
    """The CNN of the zoo on one subject: folded graph, float accuracy, training samples and test samples."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    domain = data.load("dsa", FOLDER, 1)
    rows, held = data.split(domain, "random", seed=0)
    x = Preprocess.of(domain.x[rows]).apply(domain.x)
    model = train(zoo.build("cnn", 45, 125, 19, seed=0), x[rows], domain.y[rows], TrainingSettings(epochs=12))
    graph = passes.run(frontend.from_torch(model, torch.from_numpy(x[:2])))
    test = x[held], domain.y[held]
    yield graph, accuracy(model, *test), (x[rows], domain.y[rows]), test
    torch.set_num_threads(before)


@pytest.mark.parametrize(("bits", "epochs", "lost"), [(8, 0, 0.005), (4, 2, 0.01), (2, 6, 0.02)])
def test_quantization_costs_little(
    trained: tuple[Graph, float, Samples, Samples], bits: int, epochs: int, lost: float
) -> None:
    graph, floating, (x, y), (test_x, test_y) = trained
    assert floating > 0.97
    net = FakeQuantNet(annotate(graph, observe_ranges(graph, x), bits))
    if epochs:
        before, after = finetune(net, x, y, epochs=epochs)
        assert after < before
    program, constants = lower(to_integer(net))
    codes = net.graph.values[graph.input].qparams.quantize(test_x)
    outputs = Engine(program, constants).infer(np.ascontiguousarray(np.moveaxis(codes[:, :, None], 1, -1)))
    quantized = float((logits(outputs, program, constants).argmax(axis=1) == test_y).mean())
    assert quantized >= floating - lost, f"{bits} bits: {quantized:.4f}, float {floating:.4f}"
