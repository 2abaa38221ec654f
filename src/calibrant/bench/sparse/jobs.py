"""The rows of the protocol as jobs. A job is all that decides its result, the code included: its name in the cache."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from calibrant.bench.harness.provenance import code_digest
from calibrant.bench.sparse.fit import Recipe

CODE = (
    *("core", "ops", "graph", "zoo/tinyml", "plan", "autodiff", "engine"),
    *("data/archive", "data/cifar10", "data/resize", "data/task"),
    *(f"bench/sparse/{name}" for name in ("augment", "costs", "fit", "float_learner", "float_network")),
    *(f"bench/sparse/{name}" for name in ("integer_learner", "row", "schemes")),
)


@dataclass(frozen=True)
class Subject:
    """A published network and the samples it is tuned on, all drawn by `seed`; `model_sha256` is of its files.

    `held` True judges on training samples beside the drawn ones, not on test samples: for tuning.
    """

    model: str
    model_sha256: str
    task: str
    task_sha256: str
    train: int
    test: int
    seed: int
    held: bool = False


@dataclass(frozen=True)
class Cell:
    """One row: a subject trained under a scheme by a method; `augmented` shows every epoch other views of a sample."""

    subject: Subject
    scheme: str
    method: str
    recipe: Recipe
    augmented: bool = False
    code: str = field(default_factory=lambda: code_digest(*CODE, engine=True))
    torch: str = torch.__version__

    @property
    def title(self) -> str:
        """For people."""
        about = self.subject
        return f"{about.model} on {about.task}, {self.scheme} by {self.method}, seed {about.seed}"
