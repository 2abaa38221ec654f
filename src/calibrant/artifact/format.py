"""What an artifact holds: everything a device needs to predict, adapt and verify, and nothing executable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calibrant.core.evaluation import Meaning
from calibrant.core.program import Constants, Program
from calibrant.core.recognition import Recognition
from calibrant.core.settings import FlipSettings
from calibrant.core.statistics import Coreset, FeatureStatistics, Feedback, InDistribution, PreActivations, Preprocess
from calibrant.core.task import CLASSES, find
from calibrant.core.training import Training

# 2: the reference, what is usual, a coreset of 4 bits; 3: home; 4: recognition. A file has the first of them that knows
# all it holds.
FORMAT_VERSION = 4

# Of verification: the largest loss of coreset accuracy that passes; the share of labels kept back to verify on. Of the
# coreset on the device: the share of its places that belongs to the samples the artifact brings.
THRESHOLDS: Mapping[str, float] = {"coreset_drop": 0.1, "holdout": 0.15, "source_share": 0.5}


@dataclass(frozen=True)
class Artifact:
    """One calibrated model.

    `training` is the planned step of the form 'sparse', where the artifact was prepared for it; `home`, what affine
    correction leads back to, which artifacts of earlier releases do not have; `recognition`, what tells the training
    samples' domain from others, where enough of them said so. `input_shape` is the
    user's window shape without batch, e.g. (45, 125) or (1, 8, 8); `thresholds` are those of verification, by default
    `THRESHOLDS`; `task` is what outputs mean, see `core.task`. `report` is free JSON for people: accuracies per stage,
    training-data hash, settings."""

    program: Program
    constants: Constants
    preprocess: Preprocess
    feedback: Feedback
    coreset: Coreset
    reference: FeatureStatistics
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    training: Training | None = None
    home: PreActivations | None = None
    recognition: Recognition | None = None
    usual: InDistribution = field(default_factory=InDistribution)
    settings: FlipSettings = field(default_factory=FlipSettings)
    thresholds: Mapping[str, float] = field(default_factory=lambda: dict(THRESHOLDS))
    report: Mapping[str, Any] = field(default_factory=dict)
    task: str = CLASSES

    @property
    def meaning(self) -> Meaning:
        """What it takes to read the network's outputs."""
        return Meaning(self.program, self.constants, find(self.task))

    @property
    def format_version(self) -> int:
        """Of the file that it is written to."""
        if self.recognition is not None:
            return FORMAT_VERSION
        return 3 if self.home is not None else 2
