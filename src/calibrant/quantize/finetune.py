"""Server-side fine-tuning of a fake-quantized network with straight-through gradients."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from calibrant.core.errors import DataError
from calibrant.core.progress import Progress
from calibrant.core.rng import generator
from calibrant.quantize.fake import FakeQuantNet

EPOCHS = {8: 2, 4: 4, 2: 12}  # enough for about a thousand samples
RATE = {8: 1e-4, 4: 5e-4, 2: 2e-3}


def finetune(
    net: FakeQuantNet,
    x: NDArray[np.float32],
    y: NDArray[np.int64],
    epochs: int | None = None,
    lr: float | None = None,
    batch: int = 64,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[float]:
    """Train latent weights and biases in place: Adam, cosine decay, cross-entropy.

    The parameters before training stay in the race: if the loss over all of `x` does not fall, they are restored.

    Parameters
    ----------
    net : FakeQuantNet
        Changed in place.
    x : float32[N, ...]
    y : int64[N]
        Classes, all known.
    epochs, lr : optional
        By default from the smallest weight width: more and faster for fewer bits.
    batch, seed
        Same seed and thread count, same weights.
    progress : callable, optional
        Called with ("finetune", epochs done, epochs).

    Returns
    -------
    list of float
        Mean loss over `x` before and after training.

    Raises
    ------
    DataError
        If `x` and `y` differ in length or hold nothing.
    """
    if len(x) != len(y) or len(y) == 0:
        raise DataError(f"finetune: expected as many labels as samples and at least one, got {len(x)} and {len(y)}")
    widths = [int(node.attrs["weight_bits"]) for node in net.graph.weighted()]
    bits = min((width for width in widths if width > 1), default=8)  # signs are not trained here
    epochs, lr = EPOCHS[bits] if epochs is None else epochs, RATE[bits] if lr is None else lr
    inputs, labels = torch.from_numpy(np.ascontiguousarray(x, np.float32)), torch.from_numpy(y.astype(np.int64))
    rng = generator(seed, "finetune")
    before, kept = mean_loss(net, inputs, labels, batch), copy.deepcopy(net.state_dict())
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    parts = max(1, round(len(labels) / batch))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs * parts))
    for epoch in range(epochs):
        for rows in np.array_split(rng.permutation(len(labels)), parts):
            chosen = torch.from_numpy(rows)
            optimizer.zero_grad()
            loss = F.cross_entropy(net(inputs[chosen]), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        if progress is not None:
            progress("finetune", epoch + 1, epochs)
    after = mean_loss(net, inputs, labels, batch)
    if not after < before:
        net.load_state_dict(kept)
        after = before
    return [before, after]


@torch.no_grad()
def mean_loss(net: FakeQuantNet, x: torch.Tensor, y: torch.Tensor, batch: int = 64) -> float:
    """Mean cross-entropy over all samples."""
    total = sum(
        float(F.cross_entropy(net(x[i : i + batch]), y[i : i + batch], reduction="sum"))
        for i in range(0, len(y), batch)
    )
    return total / len(y)
