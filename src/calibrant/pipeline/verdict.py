"""What a preparation cost: whether integers do as well as float, and if they do not, where and what to try."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibrant.quantize import FakeQuantNet

LOSS = 0.02  # of accuracy: more is worth a word
SAMPLES = 256
EIGHT_BITS = 48.0  # decibels of a signal that fills its 256 codes
MAX_DECIBELS = 120.0  # where there is no noise at all


def verdict(net: FakeQuantNet, x: NDArray[np.float32], accuracy_float: float, accuracy_quantized: float) -> str | None:
    """One line on a network that loses more than 2 points of accuracy to quantization; None where it does not.

    Parameters
    ----------
    net : FakeQuantNet
        The quantized network; what its layers lose is measured against itself without roundings.
    x : float32[N, ...]
        Samples as it sees them; the first 256 are looked at.
    accuracy_float, accuracy_quantized : float
        On the same samples.
    """
    if accuracy_float - accuracy_quantized <= LOSS:
        return None
    decibels = signal_to_noise(net, x[:SAMPLES])
    fall, layer = max(
        ((decibels[node.inputs[0]] - decibels[node.output], node) for node in net.graph.nodes), key=lambda each: each[0]
    )
    source = decibels[net.graph.input]
    where, left, hint = f"layer '{layer.name}'", decibels[layer.output], "try more bits or more epochs of fine-tuning"
    if EIGHT_BITS - source > fall:
        where, left, hint = "the input", source, "look for corrupt readings, and try standardized or raw samples"
    return (
        f"integers lose {100 * (accuracy_float - accuracy_quantized):.1f} points of accuracy against float "
        f"({accuracy_float:.3f} to {accuracy_quantized:.3f}), most at {where} (signal to noise {left:.0f} dB): {hint}"
    )


def signal_to_noise(net: FakeQuantNet, x: NDArray[np.float32]) -> dict[str, float]:
    """By value of the graph, in decibels: the median over samples, which a few odd ones do not hide."""
    batch = torch.from_numpy(np.ascontiguousarray(x))
    with torch.no_grad():
        rounded = net.trace(batch)
        with net.float_mode():
            exact = net.trace(batch)
    return {name: _decibels(exact[name], rounded[name]) for name in exact}


def _decibels(exact: Any, rounded: Any) -> float:
    signal = exact.flatten(1).double().square().sum(1)
    noise = (exact - rounded).flatten(1).double().square().sum(1)
    ratio = 10 * torch.log10(signal.clamp_min(1e-300) / noise.clamp_min(1e-300))
    return float(ratio.clamp(-MAX_DECIBELS, MAX_DECIBELS).median())
