"""The server's side: calibrate the quantized network on the coreset, and learn what each step does to its codes."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibrant.bench.qcore_paper.network import BitFlipNetwork, Form, covered, layer_input, layers
from calibrant.core.errors import ModelError
from calibrant.core.rng import generator
from calibrant.quantize import FakeQuantNet
from calibrant.quantize.layers import Step, Weighted


@dataclass(frozen=True)
class Settings:
    """How the bit-flipping networks are trained.

    `trajectories` calibrations start from the deployed weights plus `noise` deviations of a channel's weights, and are
    followed for `records` calibration steps of `inner` optimizer steps each: a longer one fits the coreset, and codes
    move no more. Adam changes a layer's weights by about `rate` deviations in an optimizer step. Each network takes
    `updates` steps of Adam at the paper's `lr` and gradient `clip`, on one layer and calibration step at a time.
    """

    trajectories: int = 12
    records: int = 4
    inner: int = 5
    noise: float = 1.0
    rate: float = 0.04
    updates: int = 480
    lr: float = 0.01
    clip: float = 2.0


@dataclass(frozen=True)
class Record:
    """One calibration step: per layer what it read before, float32[n, c_in, positions], and by how much its codes
    then moved, -1, 0 or 1 as float32[c_in, c_out, kernel]; `loss` is that of the coreset before."""

    inputs: Mapping[str, Tensor]
    moves: Mapping[str, Tensor]
    loss: float


def learn(
    net: FakeQuantNet,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    settings: Settings | None = None,
    seed: int = 0,
) -> dict[Form, BitFlipNetwork]:
    """Train a bit-flipping network for every form of layer.

    Parameters
    ----------
    net : FakeQuantNet
        As deployed; left unchanged.
    x, y : float32[n, ...], int64[n]
        The coreset in the order in which the device keeps it, as the network sees it.
    settings : Settings, optional
    seed : int

    Returns
    -------
    dict of Form to BitFlipNetwork

    Raises
    ------
    ModelError
        If no layer can have one.
    """
    how, forms = settings or Settings(), covered(net)
    if not forms:
        raise ModelError("qcore-paper: expected a convolution with a kernel above 1 and 5 input positions, got none")
    rng = generator(seed, "qcore-paper")
    samples = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y)
    records = [record for _ in range(how.trajectories) for record in calibrate(net, *samples, how, rng)]
    networks = {}
    for form in dict.fromkeys(forms.values()):
        examples = [(r.inputs[name], r.moves[name]) for r in records for name in forms if forms[name] == form]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            networks[form] = BitFlipNetwork(form, len(y))
        fit(networks[form], examples, how, rng)
    return networks


def calibrate(net: FakeQuantNet, x: Tensor, y: Tensor, how: Settings, rng: np.random.Generator) -> Iterator[Record]:
    """Fine-tune the covered weights of a disturbed copy of `net` on the coreset, one record a step.

    Latent weights learn through the rounding, for the cross-entropy over the whole coreset; biases and other layers are
    out of the device's reach and stay.
    """
    net, forms = copy.deepcopy(net).requires_grad_(False), covered(net)
    learning = {step.name: step for step in layers(net) if step.name in forms}
    groups = []
    for step in learning.values():
        deviation = step.weight.flatten(1).std(1)
        groups.append({"params": [step.weight], "lr": how.rate * float(deviation.mean())})
        disturb(step, how.noise * deviation, rng)
        step.weight.requires_grad_(True)
    optimizer = torch.optim.Adam(groups)
    for _ in range(how.records):
        inputs, before = layer_inputs(net, x), _codes(learning)
        losses = []
        for _ in range(how.inner):
            optimizer.zero_grad()
            losses.append(nn.functional.cross_entropy(net(x), y))
            torch.autograd.backward(losses[-1])
            optimizer.step()
        moved = {name: (after - before[name]).clamp(-1, 1) for name, after in _codes(learning).items()}
        moves = {name: change.flatten(2).transpose(0, 1) for name, change in moved.items()}
        yield Record(inputs, moves, losses[0].item())


def disturb(step: Weighted, deviation: Tensor, rng: np.random.Generator) -> None:
    """Add noise of `deviation` float32[c_out] to latent weights, within the range of their codes."""
    shape = (-1,) + (1,) * (step.weight.ndim - 1)
    noise = torch.from_numpy(rng.normal(size=tuple(step.weight.shape)).astype(np.float32)) * deviation.view(shape)
    edge = step.limit * step.weight_scale.view(shape)
    step.weight.copy_((step.weight + noise).clamp(-edge, edge))


@torch.no_grad()
def layer_inputs(net: FakeQuantNet, x: Tensor) -> dict[str, Tensor]:
    """What every covered layer reads, float32[n, c_in, positions]; layers that read the same value share it."""
    forms, found, values = covered(net), {}, dict[str, Tensor]()

    def keep(step: Step, inputs: list[Tensor]) -> None:
        if step.name in forms:
            value = step.inputs[0]
            if value not in values:
                values[value] = layer_input(step, inputs)
            found[step.name] = values[value]

    net.walk(x, keep)
    return found


def fit(
    network: BitFlipNetwork, examples: list[tuple[Tensor, Tensor]], how: Settings, rng: np.random.Generator
) -> None:
    """Least squares of the moves, brought to unit variance, on the inputs."""
    mean_square = float(torch.stack([moves.square().mean() for _, moves in examples]).mean())
    unit = 1.0 / max(mean_square, 1e-12) ** 0.5
    optimizer = torch.optim.Adam(network.parameters(), lr=how.lr)
    for pick in rng.integers(0, len(examples), how.updates):
        x, moves = examples[int(pick)]
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.mse_loss(network(x), moves * unit))
        nn.utils.clip_grad_norm_(network.parameters(), how.clip)
        optimizer.step()


@torch.no_grad()
def _codes(learning: Mapping[str, Weighted]) -> dict[str, Tensor]:
    return {name: step.weight_codes() for name, step in learning.items()}
