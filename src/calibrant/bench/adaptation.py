"""The ways to keep a deployed network calibrated, behind one small interface."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from calibrant import artifact as files
from calibrant import updaters
from calibrant.artifact import Artifact
from calibrant.bench import baselines, qcore_paper
from calibrant.core.reports import UpdateReport
from calibrant.core.settings import FlipSettings
from calibrant.quantize import FakeQuantNet
from calibrant.session import Session

RESET_EVERY = 5  # windows; of ten, the second half starts from the artifact again


@dataclass(frozen=True)
class Deployed:
    """What was prepared on the server: the artifact's file and, for baselines, what it was made from.

    `load_net` gives the fake-quantized network that was lowered, `load_float` the trained one, `load_source` the
    training samples float32[N, *input_shape] in physical units. `dataset`, `network` and `bits` say what a baseline's
    settings were tuned for; `steps` is how many a window; `seed` of minibatches and memories; `capacity` samples
    that are kept (None: as many as a session keeps by itself); `gate`: whether the session adapts only where it finds
    a drift.
    """

    path: Path
    load_net: Callable[[], FakeQuantNet]
    load_float: Callable[[], nn.Module]
    load_source: Callable[[], NDArray[np.float32]]
    dataset: str
    network: str
    bits: int
    steps: int
    seed: int
    capacity: int | None = None
    gate: bool = False


class Adaptation(Protocol):
    """A deployed network and what keeps it calibrated. Inputs float32[N, *input_shape] are in physical units."""

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Classes int64[N]."""

    def observe(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> UpdateReport | None:
        """Learn from one window, -1 where there is no label. A session says what came of it."""

    def added_bytes(self, x: NDArray[np.float32]) -> int:
        """Memory that learning from window `x` needs beyond predicting."""


class OnDevice:
    """The product itself: an open session. Without `form` it never observes.

    `reset_every`: windows after which the next one starts from the artifact again, weights and coreset.
    `kept`: samples that the session keeps. `extra_bytes`: what a control's updater needs beyond the product's, given
    the samples of a window and the kept ones together.
    """

    def __init__(
        self,
        session: Session,
        artifact: Artifact,
        form: str | None,
        kept: int,
        reset_every: int | None = None,
        extra_bytes: Callable[[int], int] = lambda samples: 0,
    ) -> None:
        self.session, self._artifact, self._form = session, artifact, form
        self._kept, self._extra_bytes = kept, extra_bytes
        self._reset_every, self._windows = reset_every, 0

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        return self.session.predict(x)

    def observe(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> UpdateReport | None:
        if self._form is None:
            return None
        if self._reset():
            self.session.forget()
        return self.session.observe(x, y)

    def ask(self, x: NDArray[np.float32], n: int) -> NDArray[np.int64]:
        """Samples int64[n] of a window that the session wants labels of."""
        return self.session.ask(x, n)

    def defer(self, x: NDArray[np.float32]) -> int:
        """Keep a window until its labels arrive; gives the ticket for :meth:`label`."""
        return self.session.defer(x)

    def label(self, ticket: int, y: NDArray[np.int64]) -> UpdateReport:
        """Learn from a deferred window, -1 where there is no label."""
        self._reset()  # the coreset stays: forgetting it would forget the windows that wait for labels too
        return self.session.label(ticket, y)

    def added_bytes(self, x: NDArray[np.float32]) -> int:
        if self._form is None:
            return 0
        return flip_bytes(self._artifact, len(x), self._kept, self._form) + self._extra_bytes(len(x) + self._kept)

    def _reset(self) -> bool:
        """Count one more window to learn from; where it is time, restore the artifact's weights before it."""
        due = bool(self._reset_every and self._windows and self._windows % self._reset_every == 0)
        if due:
            self.session.rollback(to=0)
        self._windows += 1
        return due


class OnServer:
    """A baseline on the fake-quantized network; `learner` sees inputs as the artifact standardizes them."""

    def __init__(
        self, learner: baselines.Learner | baselines.BatchNormStatistics | qcore_paper.BitFlipping, artifact: Artifact
    ) -> None:
        self._learner, self._artifact = learner, artifact

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        return self._learner.predict(self._artifact.preprocess.apply(x))

    def observe(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        self._learner.observe(self._artifact.preprocess.apply(x), y)

    def added_bytes(self, x: NDArray[np.float32]) -> int:
        return self._learner.added_bytes(self._artifact.preprocess.apply(x))


def flip_bytes(artifact: Artifact, window: int, kept: int, form: str) -> int:
    """Memory of one flip window of `window` samples beside `kept` ones, beyond inference, from the records' sizes.

    Feedback, kept samples, input codes, statistics of window and kept samples, and two candidate copies of the
    parameters; the forms that resolve taps add an int64 slope per weight, the accumulated one residuals, moments and
    outputs.
    """
    program = artifact.program
    samples = window + kept
    logits = program.tensors[program.output].elements
    statistics = 4 * samples * (program.active_count + program.pooled_count + logits)
    codes = window * program.tensors[program.input].nbytes
    candidates = 2 * (program.weight_count + 4 * program.channel_count)
    slopes = 0 if form == "pooled" else 8 * program.weight_count
    updater = updaters.form(form).updater
    own = updater.resident_bytes(artifact, kept) + updater.learning_bytes(artifact)
    one = artifact.coreset.x[:1].nbytes + artifact.coreset.y[:1].nbytes
    return int(artifact.feedback.matrix.nbytes + kept * one + codes + statistics + candidates + slopes + own)


def steps_of(updater: str, requested: int | None) -> int:
    """Steps a window: as requested, or what the updater is tuned for; 0 for one that takes none."""
    if updater in ("none", "bn"):
        return 0
    if updater == "qcore-paper":
        return requested or qcore_paper.PASSES
    return requested or (baselines.STEPS if updater in baselines.LEARNERS else FlipSettings().steps)


@contextmanager
def on_device(
    form: str | None, deployed: Deployed, reset_every: int | None = None, upkeep: bool = True
) -> Iterator[Adaptation]:
    """The product with flips of a form, or never observing; its state lies in a folder that is removed afterwards."""
    artifact = files.read(deployed.path)
    settings = replace(artifact.settings, form=form or artifact.settings.form, steps=deployed.steps)
    with (
        tempfile.TemporaryDirectory(prefix="calibrant-bench-") as folder,
        Session.open(
            deployed.path,
            state=Path(folder) / "state.db",
            settings=settings,
            capacity=deployed.capacity,
            upkeep=upkeep,
            gate=deployed.gate,
        ) as session,
    ):
        yield OnDevice(session, artifact, form, session.capacity, reset_every)


@contextmanager
def with_directions(kind: str, deployed: Deployed) -> Iterator[Adaptation]:
    """The product in all but where flips go: 'random' or 'true' directions in place of the estimated ones."""
    artifact = files.read(deployed.path)
    settings = replace(artifact.settings, form="accumulated", steps=deployed.steps)
    updater: baselines.TrueFlips | baselines.RandomFlips
    if kind == "true":
        updater = baselines.TrueFlips(artifact, settings, deployed.load_net())
    else:
        updater = baselines.RandomFlips(artifact, settings, deployed.seed)
    with Session.open(deployed.path, updater=updater, capacity=deployed.capacity, gate=False) as session:
        yield OnDevice(session, artifact, settings.form, session.capacity, extra_bytes=updater.added_bytes)


@contextmanager
def back_propagation(name: str, deployed: Deployed) -> Iterator[Adaptation]:
    """A baseline of `baselines.LEARNERS` as tuned, on the same network and coreset."""
    artifact = files.read(deployed.path)
    learner = baselines.LEARNERS[name](
        deployed.load_net(),
        *core(artifact),
        steps=deployed.steps,
        seen=len(deployed.load_source()),
        seed=deployed.seed,
        **baselines.tuned(name, deployed.dataset, deployed.network, deployed.bits),
    )
    yield OnServer(learner, artifact)


@contextmanager
def batch_norm(deployed: Deployed) -> Iterator[Adaptation]:
    """Statistics of the layers that carried a batch norm, re-estimated without labels."""
    artifact = files.read(deployed.path)
    source = artifact.preprocess.apply(deployed.load_source())
    layers = baselines.normalized_layers(deployed.load_float(), source[:2])
    settings = baselines.tuned("bn", deployed.dataset, deployed.network, deployed.bits)
    yield OnServer(baselines.BatchNormStatistics(deployed.load_net(), layers, source, **settings), artifact)


@contextmanager
def bit_flipping(deployed: Deployed) -> Iterator[Adaptation]:
    """The paper's convolutional bit-flipping network, trained on the server the first time that it is asked for."""
    artifact, net = files.read(deployed.path), deployed.load_net()
    networks = qcore_paper.load_or_learn(deployed.path, net, *core(artifact), seed=deployed.seed)
    learner = qcore_paper.BitFlipping(
        net, networks, *core(artifact), passes=deployed.steps, share=qcore_paper.SHARE, seed=deployed.seed
    )
    yield OnServer(learner, artifact)


def core(artifact: Artifact) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The artifact's coreset as a fake-quantized network sees it, float32[n, *input_shape], and its classes."""
    entry = artifact.program.tensors[artifact.program.input]
    x = baselines.decode(artifact.coreset.x, entry.scale, entry.zero_point, artifact.input_shape)
    return x, artifact.coreset.y


UPDATERS: Mapping[str, Callable[[Deployed], AbstractContextManager[Adaptation]]] = {
    "none": partial(on_device, None),
    "bn": batch_norm,
    **{row.bench: partial(on_device, form) for form, row in updaters.FORMS.items() if not row.needs_training},
    "flip-fixed": partial(on_device, "accumulated", upkeep=False),
    "flip-random": partial(with_directions, "random"),
    "flip-true": partial(with_directions, "true"),
    "reset": partial(on_device, "accumulated", reset_every=RESET_EVERY),
    "qcore-paper": bit_flipping,
    **{name: partial(back_propagation, name) for name in baselines.LEARNERS},
}
LABEL_FREE = frozenset({"none", "bn"})  # which labels make no difference to
ON_SERVER = frozenset({"bn", "qcore-paper", *baselines.LEARNERS})  # which have no session that could ask for labels
