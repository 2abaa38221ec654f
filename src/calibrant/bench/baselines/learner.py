"""What all back-propagation baselines share: latent weights, the optimizer, minibatches, counting memory."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibrant.core.rng import generator

BATCH = 128  # samples of the window, and of the memory, in one step; a smaller window is one batch
STEPS = 20  # a window, which the settings are tuned for
BYTES_PER_PARAMETER = 16  # float32: latent value, gradient, Adam's two moments
_FORWARD = 256


class Learner(ABC):
    """Calibrates a network by back-propagation: Adam, whose moments carry over from window to window.

    For a `FakeQuantNet` the gradients go straight through the rounding to latent weights, which carry over too; the
    same classes fine-tune a plain float module. A baseline says what its `loss` is and what it does `after_window`.

    Parameters
    ----------
    net : torch.nn.Module
        A copy is trained. Batch norm, where still there, stays frozen.
    core_x, core_y : float32[n, ...], int64[n]
        The coreset, as the network sees it.
    lr : float
    steps : int
        Optimizer steps a window.
    seen : int, optional
        Training samples that the coreset stands for; default as many as it holds.
    seed : int
        Of minibatches and of what a memory keeps.
    """

    def __init__(
        self,
        net: nn.Module,
        core_x: NDArray[np.float32],
        core_y: NDArray[np.int64],
        *,
        lr: float,
        steps: int = STEPS,
        seen: int | None = None,
        seed: int = 0,
    ) -> None:
        self._seen = seen or len(core_y)
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self.core = torch.from_numpy(core_x), torch.from_numpy(core_y)
        self._steps = steps
        self._rng = generator(seed, "baseline")
        self._parameters = self.trained()
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        self._optimizer = torch.optim.Adam(self._parameters, lr=lr)

    @abstractmethod
    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Loss of one minibatch of the window, rehearsed samples included; float32[]."""

    def trained(self) -> list[nn.Parameter]:
        """The parameters that learn: all."""
        return list(self.net.parameters())

    def backward(self, x: Tensor, y: Tensor) -> None:
        """Leave the gradient of one minibatch in the parameters, which hold none."""
        torch.autograd.backward(self.loss(x, y))

    def before_window(self) -> int:
        """What precedes a window; returns how many of its steps that took."""
        return 0

    def after_window(self, x: Tensor, y: Tensor) -> None:  # noqa: B027 (most baselines that keep nothing need none)
        """What follows a window: what is kept of it."""

    def observe(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        """Learn from one window, float32[N, ...] as the network sees it; labels below 0 are unknown, and left out."""
        known = np.flatnonzero(y >= 0)
        if known.size == 0:
            return
        inputs, labels = torch.from_numpy(np.ascontiguousarray(x[known])), torch.from_numpy(y[known])
        for _ in range(self._steps - self.before_window()):
            rows = self.draw(len(labels))
            self.descend(lambda rows=rows: self.backward(inputs[rows], labels[rows]))  # type: ignore[misc]
        self.after_window(inputs, labels)

    def descend(self, backward: Callable[[], None]) -> None:
        """One step along the gradient that `backward` leaves."""
        self._optimizer.zero_grad()
        backward()
        self._optimizer.step()

    def draw(self, count: int) -> Tensor:
        """Rows of one minibatch of `count` samples, int64[min(count, BATCH)]: all in order, or chosen at random."""
        rows = np.arange(count) if count <= BATCH else self._rng.choice(count, BATCH, replace=False)
        return torch.from_numpy(rows)

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Classes int64[N]."""
        return predict(self.net, x)

    def added_bytes(self, x: NDArray[np.float32]) -> int:
        """What learning from `x` needs beyond predicting.

        16 bytes a learning parameter (latent value, gradient, two moments), what is kept of earlier samples, and every
        tensor that one minibatch's loss saves for the backward pass, counted once each.
        """
        rows = x[:BATCH]
        saved = saved_bytes(
            self.net, lambda: self.loss(torch.from_numpy(np.ascontiguousarray(rows)), torch.zeros(len(rows)).long())
        )
        return BYTES_PER_PARAMETER * sum(p.numel() for p in self._parameters) + saved + self.kept_bytes()

    def kept_bytes(self) -> int:
        """What is kept of earlier samples: the coreset."""
        return tensor_bytes(*self.core)


def predict(net: nn.Module, x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Classes int64[N] of samples float32[N, ...], N >= 1."""
    with torch.no_grad():
        parts = [
            net(torch.from_numpy(np.ascontiguousarray(x[i : i + _FORWARD]))).argmax(1).numpy()
            for i in range(0, len(x), _FORWARD)
        ]
    return np.concatenate(parts)


def saved_bytes(net: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes of all tensors that `forward` saves for a backward pass, parameters of `net` aside, counted once each."""
    saved: dict[int, int] = {}
    parameters = {p.untyped_storage().data_ptr() for p in net.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = forward()  # held until all storages are counted, so none is freed and reused
    del output
    return sum(saved.values())


def tensor_bytes(*tensors: Tensor) -> int:
    """Bytes of tensors.

    Examples
    --------
    >>> tensor_bytes(torch.zeros(3), torch.zeros(2, dtype=torch.int64))
    28
    """
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
