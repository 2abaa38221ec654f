"""The zoo's networks through `prepare` at every width: numpy reference == every C variant, before and after flips."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from calibrant import zoo
from calibrant.core.dtype import WEIGHT_BITS
from calibrant.core.rng import generator
from calibrant.core.settings import FlipSettings
from calibrant.engine import Engine, variants
from calibrant.graph import interp
from calibrant.graph.graph import Graph
from calibrant.pipeline import torch_model
from calibrant.quantize import to_integer
from calibrant.updaters.guarded_flips import GuardedFlips
from calibrant.zoo.omniscale_cnn import OmniScaleCNN
from updating import update

CLASSES, SAMPLES = 3, 30


def omniscale_cnn() -> nn.Module:
    """Twelve kernel lengths, so that its concats are wider than one op takes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return OmniScaleCNN(4, CLASSES, 124, budgets=(700, 4000, 300)).eval()


NETWORKS = {
    "omniscale_cnn": (omniscale_cnn, (4, 124)),
    "resnet18-w2": (lambda: zoo.build("resnet18-w2", 3, (10, 9), CLASSES), (3, 10, 9)),
    "vgg16-w2": (lambda: zoo.build("vgg16-w2", 3, (33, 32), CLASSES), (3, 33, 32)),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks: one torch thread is faster than several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normalized(net: nn.Module, x: np.ndarray) -> nn.Module:
    """The network with batch statistics of its own activations, which would fade over a dozen layers otherwise."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.from_numpy(x))
    return net.eval()


def samples(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(0, "networks")
    y = np.arange(SAMPLES, dtype=np.int64) % CLASSES
    x = rng.normal(0, 1, (SAMPLES, *shape)).astype(np.float32)
    x[np.arange(SAMPLES), y] += 1
    return x, y


def assert_equal_everywhere(integer: Graph, engine: Engine, artifact, codes: np.ndarray) -> None:
    """Outputs of the graph and of every variant with the engine's present weights."""
    expected, moments = interp.run(integer, codes), interp.moments(integer, codes)
    assert {layer.name for layer in artifact.program.layers[:-1]} == set(moments)
    sent = np.ascontiguousarray(np.moveaxis(codes, 1, -1))
    for variant in variants():
        other = Engine(artifact.program, artifact.constants, variant)
        other.load(engine.parameters)
        assert int(np.count_nonzero(other.infer(sent) != expected)) == 0, variant
        found = other.moments(sent)
        for layer in artifact.program.layers[:-1]:
            for got, want in zip((found.total, found.square), moments[layer.name], strict=True):
                assert int(np.count_nonzero(got[:, layer.channel_slice] != want)) == 0, f"{variant}: {layer.name}"


@pytest.mark.parametrize("bits", WEIGHT_BITS)
@pytest.mark.parametrize("name", NETWORKS)
def test_numpy_and_c_are_equal(name: str, bits: int) -> None:
    build, shape = NETWORKS[name]
    x, y = samples(shape)
    prepared = torch_model.prepare(normalized(build(), x), x, y, bits=bits, coreset=CLASSES, epochs=0)
    artifact, integer = prepared.artifact, to_integer(prepared.net)
    codes = generator(1, "codes").integers(-128, 128, (4, *integer.values[integer.input].shape)).astype(np.int8)
    codes[0], codes[1] = -128, 127
    engine = Engine(artifact.program, artifact.constants)
    assert_equal_everywhere(integer, engine, artifact, codes)

    entry = integer.values[integer.input].qparams.quantize(
        artifact.preprocess.apply(x).reshape(SAMPLES, *codes.shape[1:])
    )
    updater = GuardedFlips(artifact.meaning, artifact.feedback, FlipSettings(form="pooled"))
    outcome = update(updater, engine, np.moveaxis(entry, 1, -1).copy(), y, 6)
    assert outcome.flips > 0
    assert outcome.loss_after < outcome.loss_before
    layers = {layer.name: layer for layer in artifact.program.layers}
    prepared.net.load_codes(
        {
            name: np.ascontiguousarray(
                engine.parameters.weights[at.weight_slice].reshape(at.weight_shape).transpose(0, 3, 1, 2)
            )
            for name, at in layers.items()
        },
        {name: engine.parameters.bias[at.channel_slice] for name, at in layers.items()},
    )
    assert_equal_everywhere(to_integer(prepared.net), engine, artifact, codes)
