"""The device's side: passes over the coreset that flip codes, and a coreset renewed by misses. No gradient anywhere."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibrant.bench.baselines.learner import predict, tensor_bytes
from calibrant.bench.qcore_paper.network import SHARE, TAPS, BitFlipNetwork, Form, covered, layer_input, put
from calibrant.core.rng import generator
from calibrant.quantize import FakeQuantNet
from calibrant.quantize.layers import Step, Weighted

PASSES = 50  # over the coreset for each window, as in the paper
CHECKS = 10  # of those, the passes that also count misses
NEVER_RIGHT = 10 * (CHECKS // 2)  # weight of a sample that no check found right: ten times the most misses


class BitFlipping:
    """Calibrates a quantized network by the flips that its bit-flipping networks predict on the coreset.

    A pass runs the coreset forward once; every covered layer is given the moves that its network makes of the layer's
    input, ``q <- clamp(q + moves)``, before it computes its output. Scales and biases stay. At ten of the passes
    coreset and window are classified, and a miss is counted for a sample that was right at one check and wrong at the
    next. After the passes the coreset is drawn anew from both, see :func:`redraw`.

    Parameters
    ----------
    net : FakeQuantNet
        A copy is calibrated.
    networks : mapping of Form to BitFlipNetwork
        As :func:`calibrant.bench.qcore_paper.learn` made them for this network and coreset.
    core_x, core_y : float32[n, ...], int64[n]
        The coreset in the same order, as the network sees it.
    passes : int
    share : float
        Of a layer's weights, that one pass may move.
    seed : int
        Of the coreset's draws.
    """

    def __init__(
        self,
        net: FakeQuantNet,
        networks: Mapping[Form, BitFlipNetwork],
        core_x: NDArray[np.float32],
        core_y: NDArray[np.int64],
        *,
        passes: int = PASSES,
        share: float = SHARE,
        seed: int = 0,
    ) -> None:
        self.net = copy.deepcopy(net).eval().requires_grad_(False)
        self._networks = {name: networks[form] for name, form in covered(net).items()}
        self._core = torch.from_numpy(np.ascontiguousarray(core_x)), core_y.copy()
        self._passes, self._share, self._rng = passes, share, generator(seed, "qcore-paper coreset")

    @property
    def core_x(self) -> NDArray[np.float32]:
        """Samples float32[n, *input_shape] of the coreset now."""
        return self._core[0].numpy()

    @property
    def core_y(self) -> NDArray[np.int64]:
        """Classes int64[n] of the coreset now."""
        return self._core[1]

    def codes(self) -> dict[str, NDArray[np.int8]]:
        """Integer weights per layer now, int8[c_out, c_in / groups, kernel_h, kernel_w]."""
        return self.net.codes()

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Classes int64[N]."""
        return predict(self.net, x)

    @torch.no_grad()
    def observe(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        """Calibrate on one window, float32[N, ...] as the network sees it; labels below 0 are unknown, and left out."""
        known = np.flatnonzero(y >= 0)
        if known.size == 0:
            return
        window = torch.from_numpy(np.ascontiguousarray(x[known]))
        pool_x, pool_y = torch.cat([self._core[0], window]), np.concatenate([self._core[1], y[known]])
        checks = []
        for number in range(self._passes):
            if number % max(1, self._passes // CHECKS) == 0:
                checks.append(predict(self.net, pool_x.numpy()) == pool_y)
            self.net.walk(self._core[0], self._flip)
        rows = redraw(self._core[1], pool_y, miss_weights(np.stack(checks)), self._rng)
        self._core = pool_x[torch.from_numpy(rows)].clone(), pool_y[rows]

    def added_bytes(self, x: NDArray[np.float32]) -> int:
        """What learning from window `x` needs beyond predicting.

        Networks and coreset in float32, the window's input codes, one pass's inner values of the largest network, and
        a label, the last check and a count per sample.
        """
        unique = list({id(network): network for network in self._networks.values()}.values())
        inner = [f.c_in * f.c_out * (f.positions - TAPS + 1 + 2 * f.kernel) for f in (u.form for u in unique)]
        kept = sum(tensor_bytes(*network.state_dict().values()) for network in unique)
        core = tensor_bytes(self._core[0]) + self._core[1].nbytes
        return kept + core + x.size + 4 * max(inner) + (8 + 1 + 1) * (len(x) + len(self._core[1]))

    def _flip(self, step: Step, inputs: list[Tensor]) -> None:
        network = self._networks.get(step.name)
        if network is None or not isinstance(step, Weighted):
            return
        moves = network.moves(layer_input(step, inputs), self._share).reshape(step.weight.shape)
        put(step, (step.weight_codes() + moves).clamp(-step.limit, step.limit))


def miss_weights(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """How much each sample counts in the draw, float64[N], from bool[checks, N]: which samples were right at each.

    Examples
    --------
    >>> miss_weights(np.array([[True, True, False], [False, True, False], [True, True, False]])).tolist()
    [1.0, 0.0, 50.0]
    """
    misses = (right[:-1] & ~right[1:]).sum(axis=0)
    weights: NDArray[np.float64] = np.where(right.any(axis=0), misses, NEVER_RIGHT).astype(np.float64)
    return weights


def redraw(
    core_y: NDArray[np.int64], pool_y: NDArray[np.int64], weights: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of the pool that are the next coreset, int64[n], each in the place of a sample of its own class.

    Parameters
    ----------
    core_y : int64[n]
        Classes of the coreset, which is also the beginning of the pool.
    pool_y : int64[N]
        Classes of coreset and window.
    weights : float64[N]
        Within a class, samples are drawn without repetition in proportion to them, never one of weight 0. Where too
        few are drawn the coreset's own samples stay; a sample that is drawn again keeps its place.
    rng : numpy Generator
    """
    rows = np.arange(len(core_y))
    for label in np.unique(core_y):
        places = np.flatnonzero(core_y == label)
        candidates = np.flatnonzero((pool_y == label) & (weights > 0))
        count = min(len(places), len(candidates))
        if count == 0:
            continue
        p = weights[candidates] / weights[candidates].sum()
        drawn = rng.choice(candidates, count, replace=False, p=p)
        entering = drawn[drawn >= len(core_y)]
        leaving = places[~np.isin(places, drawn)][: len(entering)]
        rows[leaving] = entering
    return rows
