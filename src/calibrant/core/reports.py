"""What a user is told: the report on a window, a row of the history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Alert:
    """What a person should know of: `value` went beyond `limit`; `text` says it in a sentence.

    `code` is one of ``blind`` (unlike home, no labels, and candidates that disagree or predict next to no classes),
    ``labels-doubted`` (labels contradict everything that is known), ``went-back`` (adapting did harm and was undone),
    ``sensor-fault`` (a channel is dead or stuck) and ``unknown-classes`` (samples without labels that are alike, and
    unlike all that their place has shown).
    """

    code: str
    value: float
    limit: float
    text: str


@dataclass(frozen=True)
class UpdateReport:
    """What `Session.observe` returns.

    `decision` is 'committed', 'rejected' (verification failed, weights restored; or earlier ones turned out to do
    better and are in force again) or 'skipped' (nothing to learn from).
    Accuracies are fractions in 0..1, None where no labels exist. `alerts` are what a person should know of. Of windows
    without labels, `context` is the number of the domain that they are of, 0 home's, None where it is not known, and
    `accuracy_estimate` a guess at the share that is predicted right (docs/concepts/adaptation.md says how good).
    """

    version: int
    decision: str
    reason: str
    samples: int
    labels: int
    milliseconds: float
    updater: str = "none"
    flips: int = 0
    steps: int = 0
    accepted: int = 0
    loss_before: float | None = None
    loss_after: float | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    coreset_accuracy_before: float | None = None
    coreset_accuracy_after: float | None = None
    alerts: tuple[Alert, ...] = ()
    context: int | None = None
    accuracy_estimate: float | None = None

    def summary(self) -> str:
        """One line for a log."""
        accuracy = ""
        if self.accuracy_before is not None and self.accuracy_after is not None:
            accuracy = f", accuracy {self.accuracy_before:.3f} -> {self.accuracy_after:.3f}"
        alerts = "".join(f"; {alert.code}: {alert.text}" for alert in self.alerts)
        return (
            f"version {self.version} {self.decision} ({self.reason}): {self.flips} flips, {self.labels} of "
            f"{self.samples} labeled{accuracy}, {self.milliseconds:.0f} ms{alerts}"
        )


@dataclass(frozen=True)
class KnownContext:
    """A domain that a session knows; 0 is home's number, where the model was trained.

    `name` is empty until somebody gives it one. `samples`: of how many its place is known, at most 400. `labels` were
    given in it, and taught `version` last, None without. `candidate` is what is in force there without labels enough:
    "as it is", "labeled", "affine", or "affine and flips".
    """

    number: int
    name: str
    samples: int
    labels: int
    version: int | None
    candidate: str


@dataclass(frozen=True)
class Version:
    """One row of the state's history. `vouched`: by labels that taught it, or by whoever rolled back to it."""

    number: int
    parent: int | None
    created: str
    updater: str
    decision: str
    flips: int
    weights_sha256: str
    metrics: Mapping[str, Any] = field(default_factory=dict)
    vouched: bool = True
