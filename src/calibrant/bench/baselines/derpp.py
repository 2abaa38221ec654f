"""Dark experience replay ++ (Buzzega et al., "Dark Experience for General Continual Learning", NeurIPS 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibrant.bench.baselines.rehearsal import Rehearsal


class DarkReplay(Rehearsal):
    """The memory holds the network's logits at insertion too, and the network is held to them (paper, equation 6).

    Parameters
    ----------
    net, core_x, core_y, **options
        As for :class:`Learner`. The coreset's logits are the deployed network's.
    alpha : float
        Weight of the squared distance between logits now and at insertion, mean over samples and classes.
    beta : float
        Weight of the cross-entropy on a second minibatch of the memory.
    """

    def __init__(
        self,
        net: nn.Module,
        core_x: NDArray[np.float32],
        core_y: NDArray[np.int64],
        *,
        alpha: float,
        beta: float,
        **options: Any,
    ) -> None:
        super().__init__(net, core_x, core_y, **options)
        self._alpha, self._beta = alpha, beta

    def remembered(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        """Samples, classes, and the logits that the network gives now: for a window, after having learned it."""
        with torch.no_grad():
            return x, y, self.net(x)

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy on the window, plus distance of logits, plus cross-entropy on the memory."""
        (dark_x, _, dark_logits), (past_x, past_y, _) = self.rehearse(), self.rehearse()
        ours, dark, past = self.net(torch.cat([x, dark_x, past_x])).split([len(x), len(dark_x), len(past_x)])
        return (
            nn.functional.cross_entropy(ours, y)
            + self._alpha * nn.functional.mse_loss(dark, dark_logits)
            + self._beta * nn.functional.cross_entropy(past, past_y)
        )
