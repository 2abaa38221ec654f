"""Choose a coreset while your own loop trains. Run: python examples/own_training.py

Or share the work; the same samples are chosen: torchrun --standalone --nproc-per-node 2 examples/own_training.py
(with --local-addr 127.0.0.1 where the machine's own name does not resolve).
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from calibrant.coreset import MissCounter, parallel, select


def network() -> nn.Module:
    """Any classifier of linear and convolution layers."""
    layers = (nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2))
    layers += (nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))
    return nn.Sequential(*layers)


def main(epochs: int = 6, size: int = 20) -> np.ndarray:
    """Train, count quantization misses at 2, 4 and 8 bits after every epoch, and choose by them."""
    digits = load_digits()
    x = torch.from_numpy((digits.images / 16).astype(np.float32)[:, None])
    y = torch.from_numpy(digits.target.astype(np.int64))
    with parallel.group() as rank:
        torch.manual_seed(0)  # in every process, so that all start from the same weights
        net = network()

        def loss(batch_x: torch.Tensor, batch_y: torch.Tensor) -> torch.Tensor:
            return nn.functional.cross_entropy(net(batch_x), batch_y)

        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        counter = MissCounter(x, y)
        for _ in range(epochs):
            for rows in torch.randperm(len(y)).split(64):
                optimizer.zero_grad()
                # Instead of loss(...).backward(): each process computes its shards, all get the whole gradient.
                parallel.backward(net, loss, x[rows], y[rows], shards=2)
                optimizer.step()
            counter.check(net)
        chosen = select("misses", y.numpy(), size, seed=0, misses=counter.misses())
        if rank == 0:
            for width, counts in zip(counter.widths, counter.counts, strict=True):
                print(f"{width} bits: {counts.sum()} misses of {(counts > 0).sum()} samples")
            print("coreset:", *chosen)
    return chosen


if __name__ == "__main__":
    main()
