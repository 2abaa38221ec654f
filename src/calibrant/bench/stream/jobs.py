"""The jobs of the protocol. A job is all that decides its result, the code included: its name in the cache."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from calibrant.bench.harness.provenance import code_digest
from calibrant.bench.stream.cases import Case

SCENES = tuple(f"bench/stream/{name}" for name in ("cases", "families", "network", "scene", "synthetic"))
TRAINING = ("core/rng", "data", "nn", "zoo", "pipeline/float_training", "bench/recipes", *SCENES)
PREPARING = (
    *("core", "ops", "graph", "frontend", "passes", "quantize", "coreset", "feedback", "plan", "artifact"),
    *("engine", "policy", "pipeline"),
)
STREAMING = (
    *("*", "updaters", "memory", "session", "bench/adaptation", "bench/baselines", "bench/qcore/labels"),
    *(*SCENES, "bench/stream/row"),
)


@dataclass(frozen=True)
class Preparation:
    """An artifact of the sources of a case, and the float network that it is made of."""

    family: str
    source: tuple[int, ...]
    home: bool
    known: int | None
    data_sha256: str
    bits: int
    seed: int
    code: str = field(default_factory=lambda: code_digest(*TRAINING, *PREPARING, engine=True))
    torch: str = torch.__version__

    @property
    def title(self) -> str:
        """For people."""
        return f"prepare {self.family} {', '.join(map(str, self.source))}, {self.bits} bits, seed {self.seed}"


@dataclass(frozen=True)
class Cell:
    """One row: a case's stream through one method. `labels` as in `bench.qcore.jobs.Cell`, `order` of the samples."""

    preparation: Preparation
    case: Case
    data_sha256: str
    method: str
    labels: str
    order: str
    gate: bool
    delay: int = 0
    code: str = field(default_factory=lambda: code_digest(*STREAMING))

    @property
    def title(self) -> str:
        """For people."""
        how = f"{self.method}, labels {self.labels}, {self.order}, gate {'on' if self.gate else 'off'}"
        return f"{self.case.family} {self.case.name} by {how}, seed {self.preparation.seed}"
