"""A small network trained on one domain and quantized, and another domain that it errs on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import nn

from calibrant.core.rng import generator
from calibrant.core.statistics import Preprocess
from calibrant.pipeline import float_training, torch_model

CLASSES, CHANNELS, LENGTH = 3, 4, 16
Samples = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Deployment:
    """What a server keeps: the float network, what was prepared of it, and the domains' samples in physical units."""

    float_net: nn.Module
    prepared: torch_model.Prepared
    source: Samples
    target: Samples

    def standardized(self, samples: Samples) -> Samples:
        """As the networks see them."""
        return self.prepared.artifact.preprocess.apply(samples[0]), samples[1]


def samples(seed: int, count: int, classes: int = CLASSES) -> Samples:
    """Series whose class is their frequency; each seed is a domain of other gains and offsets per channel. Of more
    `classes` than the network knows, the last ones are new to it."""
    rng = generator(seed, "domain")
    y = np.arange(count, dtype=np.int64) % classes
    phase = rng.uniform(0, 6, (count, 1))
    x = np.sin(np.arange(LENGTH) * (y[:, None] + 1) * 0.5 + phase)[:, None] * rng.uniform(0.3, 1.8, (CHANNELS, 1))
    x = x + rng.normal(0, 0.8, (CHANNELS, 1)) + rng.normal(0, 0.2, x.shape)
    return x.astype(np.float32), y


@cache
def deployment(bits: int = 8) -> Deployment:
    """Trained on domain 1; domain 2 is the drift."""
    with float_training.threads(1):
        source, target = samples(1, 150), samples(2, 96)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = nn.Sequential(
                nn.Conv1d(CHANNELS, 8, 5, padding=2, bias=False),
                nn.BatchNorm1d(8),
                nn.ReLU(),
                nn.Conv1d(8, 8, 3, bias=False),
                nn.BatchNorm1d(8),
                nn.ReLU(),
                nn.AdaptiveAvgPool1d(1),
                nn.Flatten(),
                nn.Linear(8, CLASSES),
            )
        x = Preprocess.of(source[0]).apply(source[0])
        trained = float_training.train(
            net, x, source[1], float_training.TrainingSettings(epochs=15, batch=16, rate=1e-2)
        )
        return Deployment(
            trained, torch_model.prepare(trained, *source, bits=bits, coreset=12, epochs=1), source, target
        )
