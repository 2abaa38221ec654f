"""What a network in training would answer if its weights were quantized now.

Weights of linear and convolution layers are rounded per output channel with the scales the project deploys
(`quantize.weight_scales`). Batch norm need not be folded for that: folding multiplies an output channel by one number,
and codes and scale search do not depend on it. Activations stay real: at 8 bits, the default on the device, their
rounding decides few answers, and where to round is unknown in a module that was not traced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from calibrant.core.dtype import weight_range
from calibrant.core.errors import ModelError
from calibrant.quantize import weight_scales
from calibrant.quantize.layers import Weighted

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, Weighted)


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's module where torch's data-parallel wrapper holds it."""
    return model.module if isinstance(model, DistributedDataParallel) else model


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Within this context all modules are in evaluation mode; afterwards each is as it was."""
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in training:
            module.training = mode


def quantized_weights(model: nn.Module, bits: int) -> dict[str, Tensor]:
    """Rounded weights by parameter name, each of its parameter's shape, type and device.

    Parameters
    ----------
    model : torch.nn.Module
        Not changed.
    bits : {2, 4, 8}

    Raises
    ------
    ModelError
        If there is no linear or convolution layer, or the weight of one is computed from other parameters.

    Examples
    --------
    >>> net = nn.Linear(3, 1)
    >>> _ = net.weight.data.copy_(torch.tensor([[0.5, -0.1, -0.5]]))
    >>> quantized_weights(net, 2)["weight"].abs().tolist()
    [[0.5, 0.0, 0.5]]
    """
    _, limit = weight_range(bits)
    rounded: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        if not isinstance(module, WEIGHTED):
            continue
        weight = module._parameters.get("weight")
        if weight is None:
            raise ModelError(f"layer '{name}': expected plain weights to quantize, got computed ones (parametrization)")
        if id(weight) in seen:  # shared by two layers
            continue
        seen.add(id(weight))
        real = weight.detach().cpu().numpy().astype(np.float32)
        scale = weight_scales(real, bits).reshape(-1, *[1] * (real.ndim - 1))
        codes = np.clip(np.rint(real / scale), -limit, limit)
        rounded[f"{name}.weight" if name else "weight"] = torch.from_numpy(codes * scale).to(weight)
    if not rounded:
        raise ModelError("misses: expected linear or convolution layers with weights to quantize, got none")
    return rounded
