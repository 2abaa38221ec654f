"""Quantization misses: how often a sample that a quantized snapshot had right was wrong at the next check."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibrant.core.dtype import WEIGHT_BITS
from calibrant.core.errors import DataError, ModelError
from calibrant.coreset.parallel import rank, threads, union, world
from calibrant.coreset.snapshot import evaluating, quantized_weights, unwrapped


class MissCounter:
    """Counts the quantization misses of training samples while a full-precision network trains.

    At a check, the network's current weights are quantized to each width and every sample is classified, right or
    wrong. A sample that was right at one check of a width and is wrong at the next has one miss more at that width
    (QCore, PVLDB 17(11), 2024, section 4). Misses added over the widths choose one coreset for all of them.

    Where torch.distributed is initialized, processes share the batches of a check and unite their answers: all of them
    must call it, and all hold the same counts afterwards.

    Parameters
    ----------
    x : float[N, ...]
        Inputs as the network takes them, array or tensor.
    y : int64[N]
        Classes.
    widths : sequence of {2, 4, 8}
    every : int
        :meth:`after_epoch` checks at epochs 0, every, 2 * every, ...
    batch : int
        Samples a forward pass at a check.
    threads : int, optional
        Torch threads at a check. More than one, or None for torch's own number, is faster for large networks; ties of
        logits within rounding may then fall differently in one process and in several.

    Attributes
    ----------
    widths : tuple of int, ascending
    checks : int
        How many there were.

    Raises
    ------
    DataError
        If samples and labels do not fit, or a width is none of 2, 4 and 8.

    Examples
    --------
    >>> net = nn.Linear(1, 2)
    >>> counter = MissCounter(np.array([[1.0], [-1.0]], np.float32), np.array([1, 0]), widths=[8])
    >>> for weight in (1.0, -1.0, 1.0):
    ...     with torch.no_grad():
    ...         _ = net.weight.copy_(torch.tensor([[-weight], [weight]])), net.bias.zero_()
    ...     counter.check(net)
    >>> counter.counts.tolist(), counter.misses().tolist()
    ([[1, 1]], [1, 1])
    """

    def __init__(
        self,
        x: NDArray[np.float32] | Tensor,
        y: NDArray[np.int64] | Tensor,
        widths: Sequence[int] = WEIGHT_BITS,
        every: int = 1,
        batch: int = 256,
        threads: int | None = 1,
    ) -> None:
        self._x, self._y = torch.as_tensor(x), torch.as_tensor(y).cpu().numpy()
        if self._y.ndim != 1 or len(self._x) != len(self._y) or not len(self._y):
            raise DataError(f"misses: expected one class a sample, got {len(self._x)} samples, y {self._y.shape}")
        if not widths or any(width not in WEIGHT_BITS for width in widths):
            raise DataError(f"misses: expected widths of {WEIGHT_BITS}, got {tuple(widths)}")
        if min(every, batch) < 1:
            raise DataError(f"misses: expected positive every and batch, got {every} and {batch}")
        self.widths = tuple(sorted(set(widths)))
        self.checks = 0
        self._every, self._batch, self._threads = every, batch, threads
        self._last = np.zeros((len(self.widths), len(self._y)), bool)
        self._counts = np.zeros(self._last.shape, np.int64)
        self._ever = np.zeros(self._last.shape, bool)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Misses int64[W, N] per width, ascending, and sample."""
        return self._counts.copy()

    @property
    def never(self) -> NDArray[np.bool_]:
        """bool[W, N]: samples that were right at no check of a width."""
        return ~self._ever

    def misses(self) -> NDArray[np.int64]:
        """Misses int64[N] added over widths, and -1 for samples that were never right at the widest one.

        What not even the widest snapshot ever learned is an outlier or mislabeled far more often than it is
        instructive, so it counts as unknown rather than as hard, and `select` takes it last.

        Raises
        ------
        DataError
            After fewer than two checks: there was no transition to count.
        """
        if self.checks < 2:
            raise DataError(f"misses: expected at least two checks during training, got {self.checks}")
        return np.where(self._ever[-1], self._counts.sum(axis=0), -1)

    def after_epoch(self, epoch: int, model: nn.Module) -> None:
        """Check if it is time to; `epoch` counts from 0. Fits the `after_epoch` of a training loop."""
        if epoch % self._every == 0:
            self.check(model)

    def check(self, model: nn.Module) -> None:
        """Classify all samples with a quantized snapshot of the network for each width, and count.

        Parameters
        ----------
        model : torch.nn.Module
            Gives logits [n, K] for n samples. Left as it was, training mode included; batch norm uses its running
            statistics.

        Raises
        ------
        ModelError
            If nothing in it can be quantized, or it gives no logits.
        """
        model = unwrapped(model)
        right = np.zeros_like(self._last)
        with torch.no_grad(), evaluating(model), threads(self._threads):
            for row, bits in zip(right, self.widths, strict=True):
                weights = quantized_weights(model, bits)
                # Whole batches go to processes: a sample's logits are rounded alike in equal batches only.
                for start in range(rank() * self._batch, len(row), world() * self._batch):
                    part = slice(start, start + self._batch)
                    row[part] = self._predict(model, weights, part) == self._y[part]
        self.record(union(right))

    def record(self, right: NDArray[np.bool_]) -> None:
        """Count one check that was made elsewhere.

        Parameters
        ----------
        right : bool[W, N]
            Per width, ascending, and sample: whether a quantized snapshot classified it correctly.

        Raises
        ------
        DataError
            If the shape is another.
        """
        if np.shape(right) != self._last.shape:
            raise DataError(f"misses: expected right or wrong for {self._last.shape}, got {np.shape(right)}")
        self._counts += self._last & ~right  # before the first check nothing was right
        self._ever |= right
        self._last = np.array(right, bool)
        self.checks += 1

    def _predict(self, model: nn.Module, weights: dict[str, Tensor], part: slice) -> NDArray[np.int64]:
        device = next(iter(weights.values())).device
        logits = torch.func.functional_call(model, weights, (self._x[part].to(device),))
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(self._y[part]):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(f"misses: expected logits of shape [{len(self._y[part])}, classes], got {got}")
        predicted: NDArray[np.int64] = logits.argmax(1).cpu().numpy()
        return predicted
