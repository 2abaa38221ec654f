"""Plain back-propagation on window and coreset, and the same for biases alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from calibrant.bench.baselines.learner import Learner


class BackPropagation(Learner):
    """Cross-entropy on the window and the whole coreset together, every sample alike; the coreset never changes."""

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Mean over window and coreset."""
        logits: Tensor = self.net(torch.cat([x, self.core[0]]))
        return nn.functional.cross_entropy(logits, torch.cat([y, self.core[1]]))


class BiasOnly(BackPropagation):
    """The same, but only biases learn: the least that back-propagation can change, and the least memory it can need."""

    def trained(self) -> list[nn.Parameter]:
        """The biases."""
        return [parameter for name, parameter in self.net.named_parameters() if name.split(".")[-1] == "bias"]
