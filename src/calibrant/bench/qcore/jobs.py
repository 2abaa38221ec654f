"""The jobs of the protocol. A job is all that decides its result, the code included: it names the result in the cache.

Code is named per stage, so that a change re-does what it can change and no more. Trained float networks stay valid
unless networks, data sets or training change; artifacts unless anything before the device changes, the engine's binary
included; rows unless anything above or the device or a baseline changes. Comments and docstrings change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from calibrant.bench.harness.provenance import code_digest
from calibrant.bench.recipes import Recipe

TRAINING = (
    "core/rng",
    "data",
    "nn",
    "zoo",
    "coreset/parallel",
    "pipeline/float_training",
    "bench/recipes",
    "bench/qcore/network",
)
COUNTING = ("quantize", "coreset")
PREPARING = (
    *("core", "ops", "graph", "frontend", "passes", "quantize", "coreset", "feedback", "plan", "artifact"),
    *("engine", "policy/feature_distance", "pipeline", "bench/qcore/preparation"),
)
ADAPTING = (
    *(
        "*",
        "engine",
        "updaters",
        "memory",
        "policy",
        "session",
        "bench/adaptation",
        "bench/baselines",
        "bench/qcore_paper",
    ),
    *("bench/reports/scores", "bench/qcore/row", "bench/qcore/datasets", "bench/qcore/labels"),
)

ALL, EARLIER = "all", "earlier"  # parts of the source's training split


@dataclass(frozen=True)
class Training:
    """A float network. `source_sha256` is of the subject's data, `part` of its training split ("all" or "earlier")."""

    dataset: str
    network: str
    source: int
    source_sha256: str
    split: str
    seed: int
    part: str = ALL
    steps: int = Recipe().steps
    code: str = field(default_factory=lambda: code_digest(*TRAINING))
    torch: str = torch.__version__

    @property
    def title(self) -> str:
        """For people."""
        return f"train {self.network} on {self.dataset} subject {self.source}, seed {self.seed}"


@dataclass(frozen=True)
class Counting:
    """The quantization misses of a float network's training samples, counted while it trains."""

    training: Training
    code: str = field(default_factory=lambda: code_digest(*COUNTING))

    @property
    def title(self) -> str:
        """For people."""
        return self.training.title


@dataclass(frozen=True)
class Quantization:
    """A prepared artifact."""

    training: Training
    bits: int
    coreset: int
    rule: str = "balanced"
    coreset_bits: int = 8
    code: str = field(default_factory=lambda: code_digest(*PREPARING, engine=True))

    @property
    def title(self) -> str:
        """For people."""
        about = self.training
        which = f"{about.dataset} subject {about.source}, {self.bits} bits, coreset {self.coreset} {self.rule}"
        which += f" at {self.coreset_bits} bits" if self.coreset_bits != 8 else ""
        return f"prepare {about.network} of {which}, seed {about.seed}"


@dataclass(frozen=True)
class Cell:
    """One row: a target's stream through one way of adapting.

    `labels` of a window that are given ("all", a share such as "0.1", or a number), `choice` of them ("chance" or
    "ask"), `delay` in windows until they arrive; `capacity` samples that the device keeps (None: as many as the
    coreset); `windows` of the stream (None: all that there are) of `window` samples (None: an equal part each).
    """

    quantization: Quantization
    target: int
    target_sha256: str
    updater: str
    steps: int
    labels: str = "all"
    choice: str = "chance"
    delay: int = 0
    capacity: int | None = None
    gate: bool = False
    windows: int | None = 10
    window: int | None = None
    code: str = field(default_factory=lambda: code_digest(*ADAPTING))

    @property
    def title(self) -> str:
        """For people."""
        about, how = self.quantization.training, f"{self.quantization.bits} bits, coreset {self.quantization.coreset}"
        which = f"{about.network} on {about.dataset} {about.source} to {self.target}"
        regime = f"{self.quantization.rule}, labels {self.labels} by {self.choice}"
        return f"adapt {which} by {self.updater}, {how} {regime}, seed {about.seed}"
