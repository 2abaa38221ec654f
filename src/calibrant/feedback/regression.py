"""Closed-form feedback: regress each layer's error signal on the output error.

The bit-flipping network of layer l is a matrix B_l [K, c_out]. Back-propagation on the server gives the true
``dL/dz_l``; averaged over the active positions of a sample it is the target, softmax - onehot is the regressor, and
ridge regression over a few perturbed batches is the whole training (docs/flow.md, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from calibrant.core.rng import generator
from calibrant.core.statistics import Feedback
from calibrant.feedback.perturb import perturb


class Recording(Protocol):
    """What feedback needs from the fake-quantized network."""

    @property
    def layers(self) -> list[str]: ...

    def __call__(self, x: torch.Tensor, record: dict[str, Any]) -> torch.Tensor: ...


def learn(
    net: Recording,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    *,
    batches: int = 20,
    batch_size: int = 64,
    ridge: float = 1e-2,
    strength: float = 1.0,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> Feedback:
    """Learn the feedback of all layers.

    Parameters
    ----------
    net : FakeQuantNet
        The calibrated model; `net(x, record=dict)` records (pre-activation, active mask) per layer.
    x, y : float32[N, ...], int64[N]
        Standardized training samples.
    batches, batch_size : int
        Perturbed batches drawn with replacement.
    ridge : float
        Regularization relative to the mean squared output error.
    strength : float
        Of the perturbation.
    seed : int
    progress : callable, optional
        Called with ("feedback", batches done, batches).

    Returns
    -------
    Feedback
        int8 columns per layer, each layer scaled to its largest entry.
    """
    rng = generator(seed, "feedback")
    moment = np.zeros(0)
    cross: dict[str, NDArray[np.float64]] = {}
    for batch in range(batches):
        index = rng.integers(0, len(x), batch_size)
        error, targets = _signals(net, torch.from_numpy(perturb(x[index], rng, strength)), torch.from_numpy(y[index]))
        moment = error.T @ error + (moment if moment.size else 0.0)
        for name, target in targets.items():
            cross[name] = error.T @ target + cross.get(name, 0.0)
        if progress:
            progress("feedback", batch + 1, batches)
    classes = len(moment)
    regularized = moment + ridge * np.trace(moment) / classes * np.eye(classes)
    solved = [np.linalg.solve(regularized, cross[name]) for name in net.layers]
    scales = [max(float(np.abs(b).max()) / 127, 1e-12) for b in solved]
    matrix = np.concatenate([np.rint(b / s) for b, s in zip(solved, scales, strict=True)], axis=1)
    return Feedback(matrix.astype(np.int8), np.array(scales, np.float32))


def _signals(
    net: Recording, x: torch.Tensor, y: torch.Tensor
) -> tuple[NDArray[np.float64], Mapping[str, NDArray[np.float64]]]:
    """Output error [N, K] and, per layer, dL/dz averaged over active positions [N, c_out]."""
    record: dict[str, Any] = {}
    scores = net(x, record=record)
    pre_activations = [record[name][0] for name in net.layers]
    gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(scores, y, reduction="sum"), pre_activations)
    targets = {}
    for name, gradient in zip(net.layers, gradients, strict=True):
        active = record[name][1].flatten(2) if gradient.ndim > 2 else record[name][1].unsqueeze(2)
        summed = gradient.flatten(2).sum(2) if gradient.ndim > 2 else gradient
        targets[name] = (summed / active.sum(2).clamp(min=1)).double().numpy()
    onehot = torch.nn.functional.one_hot(y, scores.shape[1])
    return (torch.softmax(scores.detach(), 1) - onehot).double().numpy(), targets
