"""ER with asymmetric cross-entropy (Caccia et al., "New Insights on Reducing Abrupt Representation Change", 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from calibrant.bench.baselines.rehearsal import Rehearsal


class AsymmetricReplay(Rehearsal):
    """New samples compete only among the classes that their own minibatch has; rehearsed ones among all classes.

    So new samples do not push the other classes' features away; the memory alone tells old from new (paper, section 4).
    """

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The window's restricted cross-entropy plus the memory's full one."""
        past_x, past_y = self.rehearse()
        logits = self.net(torch.cat([x, past_x]))
        ours, past = restricted(logits[: len(y)], y), logits[len(y) :]
        return nn.functional.cross_entropy(ours, y) + nn.functional.cross_entropy(past, past_y)


def restricted(logits: Tensor, y: Tensor) -> Tensor:
    """Logits [N, K] with minus infinity for every class that does not occur in `y`, so that no gradient reaches it.

    Examples
    --------
    >>> restricted(torch.zeros(2, 3), torch.tensor([0, 2])).tolist()
    [[0.0, -inf, 0.0], [0.0, -inf, 0.0]]
    """
    absent = torch.ones(logits.shape[1], dtype=torch.bool)
    absent[y] = False
    return logits.masked_fill(absent, -math.inf)
