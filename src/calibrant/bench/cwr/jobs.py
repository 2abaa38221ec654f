"""The jobs of the protocol. A job is all that decides its result, the code included: its name in the cache."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from calibrant.bench.harness.provenance import code_digest
from calibrant.heads import CwrSettings

TRAINING = ("core/rng", "data", "nn", "zoo", "pipeline/float_training", "bench/recipes")
PREPARING = (
    *("core", "ops", "graph", "frontend", "passes", "quantize", "coreset", "feedback", "plan", "artifact"),
    *("engine", "policy", "pipeline", "heads/lesson", "bench/cwr/scene", "bench/cwr/network"),
)
LEARNING = ("core", "heads", *(f"bench/cwr/{name}" for name in ("float_head", "methods", "remembered", "row")))


@dataclass(frozen=True)
class Preparation:
    """A backbone of the first classes, and what it makes of all samples."""

    dataset: str
    network: str
    subjects: tuple[int, ...]
    first: int
    experiences: int
    data_sha256: str
    bits: int
    seed: int
    code: str = field(default_factory=lambda: code_digest(*TRAINING, *PREPARING, engine=True))
    torch: str = torch.__version__

    @property
    def title(self) -> str:
        """For people."""
        return f"prepare {self.dataset}, {self.first} classes, {self.bits} bits, seed {self.seed}"


@dataclass(frozen=True)
class Cell:
    """One row: a head through all experiences. `training` is of those that descend, widths and rounding of `cwr` alone;
    `replay` is none, raw or latent, of `memory` bytes."""

    preparation: Preparation
    method: str
    training: CwrSettings | None
    replay: str = "none"
    memory: int = 0
    code: str = field(default_factory=lambda: code_digest(*LEARNING))

    @property
    def label(self) -> str:
        """The method in words, such as "cwr 8/16 nearest, latent replay"."""
        how = self.training
        width = f" {how.forward_bits}/{how.backward_bits} {how.rounding}" if how and self.method == "cwr" else ""
        return self.method + width + ("" if self.replay == "none" else f", {self.replay} replay")

    @property
    def title(self) -> str:
        """For people."""
        rate = f", rate {self.training.rate:g}" if self.training else ""
        return f"{self.preparation.dataset} by {self.label}{rate}, seed {self.preparation.seed}"
