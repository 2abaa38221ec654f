"""Back-propagation baselines: what calibration costs and gives when the device could run torch."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibrant.core.errors import DataError

# Adam's learning rate per network and weight bits: the best mean accuracy over the windows on DSA when subject 3 was
# the source and subject 4 the target (random split, seeds 0 and 1, 20 steps a window), a pair that is not reported. The
# grid was 3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2, each with Adam's moments fresh in every window and carried over; carried
# was better at every width. `inception_time` costs minutes a run: 4 bits, seed 0, three windows, 3e-4, 1e-3, 3e-3, and
# the same rate at the other widths. `benchmarks/tune_bp.py` prints these numbers. Other networks take those of `cnn`.
RATES: Mapping[str, Mapping[int, float]] = {
    "cnn": {2: 3e-3, 4: 1e-3, 8: 1e-3},
    "inception_time": {2: 3e-3, 4: 3e-3, 8: 3e-3},
}
BATCH = 256
STEPS = 20  # a window, which the rates are tuned for
BYTES_PER_PARAMETER = 16  # float32: latent value, gradient, Adam's two moments


def rate(network: str, bits: int) -> float:
    """The tuned learning rate."""
    return RATES.get(network, RATES["cnn"])[bits]


class BackPropagation:
    """Calibrates a network on each window and the coreset together: full-batch Adam, cross-entropy.

    For a `FakeQuantNet` the gradients go straight through the rounding to latent weights, which carry over from window
    to window; the same class fine-tunes a plain float module.

    Parameters
    ----------
    net : torch.nn.Module
        A copy is trained. Batch norm, where still there, stays frozen.
    core_x, core_y : float32[n, ...], int64[n]
        The coreset, as the network sees it.
    lr : float
    steps : int
        Optimizer steps a window.
    carry : bool
        Whether Adam's moments carry over too, or each window starts with fresh ones.
    """

    def __init__(
        self,
        net: nn.Module,
        core_x: NDArray[np.float32],
        core_y: NDArray[np.int64],
        *,
        lr: float,
        steps: int = STEPS,
        carry: bool = True,
    ) -> None:
        self._net = copy.deepcopy(net).eval()
        self._core = torch.from_numpy(core_x), torch.from_numpy(core_y)
        self._lr, self._steps, self._carry = lr, steps, carry
        self._optimizer = self._fresh()

    def observe(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        """Learn from one labeled window, float32[N, ...] as the network sees it."""
        inputs = torch.cat([torch.from_numpy(np.ascontiguousarray(x)), self._core[0]])
        labels = torch.cat([torch.from_numpy(np.ascontiguousarray(y)), self._core[1]])
        if not self._carry:
            self._optimizer = self._fresh()
        for _ in range(self._steps):
            self._optimizer.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(self._net(inputs), labels))
            self._optimizer.step()

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Classes int64[N]."""
        with torch.no_grad():
            parts = [
                self._net(torch.from_numpy(np.ascontiguousarray(x[i : i + BATCH]))).argmax(1).numpy()
                for i in range(0, len(x), BATCH)
            ]
        return np.concatenate(parts)

    def added_bytes(self, x: NDArray[np.float32]) -> int:
        """What learning from `x` and the coreset needs beyond predicting.

        16 bytes a parameter (latent value, gradient, two moments), the coreset, and every tensor that the forward pass
        saves for the backward pass, counted once each.
        """
        saved: dict[int, int] = {}
        parameters = {p.untyped_storage().data_ptr() for p in self._net.parameters()}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        inputs = torch.cat([torch.from_numpy(np.ascontiguousarray(x)), self._core[0]])
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            output = self._net(inputs)  # held until all storages are counted, so none is freed and reused
        del output
        count = sum(p.numel() for p in self._net.parameters())
        core = sum(part.numel() * part.element_size() for part in self._core)
        return BYTES_PER_PARAMETER * count + sum(saved.values()) + core

    def _fresh(self) -> torch.optim.Adam:
        return torch.optim.Adam(self._net.parameters(), lr=self._lr)


def decode_coreset(
    codes: NDArray[np.int8], scale: float, zero_point: int, input_shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """The artifact's coreset as the network sees it: int8[n, h, w, c] codes to float32[n, *input_shape].

    Raises
    ------
    DataError
        If the codes do not hold samples of `input_shape`.

    Examples
    --------
    >>> decode_coreset(np.array([[[[1, 2], [3, 4]]]], np.int8), 0.5, 1, (2, 2)).tolist()
    [[[0.0, 1.0], [0.5, 1.5]]]
    """
    if codes[0].size != int(np.prod(input_shape)):
        raise DataError(f"coreset: expected samples of shape {input_shape}, got {codes.shape[1:]}")
    real = (codes.astype(np.float32) - zero_point) * np.float32(scale)
    return np.ascontiguousarray(real.transpose(0, 3, 1, 2).reshape(len(codes), *input_shape))
