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

from calibrant import artifact as files
from calibrant.artifact import Artifact
from calibrant.bench.baselines import STEPS, BackPropagation, decode_coreset, rate
from calibrant.core.records import FlipSettings
from calibrant.quantize import FakeQuantNet
from calibrant.session import Session


@dataclass(frozen=True)
class Deployed:
    """What was prepared on the server: the artifact's file and, for baselines, the network it was lowered from."""

    path: Path
    load_net: Callable[[], FakeQuantNet]
    network: str
    bits: int
    steps: int


class Adaptation(Protocol):
    """A deployed network and what keeps it calibrated. Inputs float32[N, *input_shape] are in physical units."""

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        """Classes int64[N]."""

    def observe(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        """Learn from one labeled window."""

    def added_bytes(self, x: NDArray[np.float32]) -> int:
        """Memory that learning from window `x` needs beyond predicting."""


class OnDevice:
    """The product itself: an open session. Without `form` it never observes."""

    def __init__(self, session: Session, artifact: Artifact, form: str | None) -> None:
        self._session, self._artifact, self._form = session, artifact, form

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        return self._session.predict(x)

    def observe(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        if self._form is not None:
            self._session.observe(x, y)

    def added_bytes(self, x: NDArray[np.float32]) -> int:
        return 0 if self._form is None else flip_bytes(self._artifact, len(x), self._form)


class Latent:
    """Back-propagation on latent weights; `learner` sees inputs as the artifact standardizes them."""

    def __init__(self, learner: BackPropagation, artifact: Artifact) -> None:
        self._learner, self._artifact = learner, artifact

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.int64]:
        return self._learner.predict(self._artifact.preprocess.apply(x))

    def observe(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        self._learner.observe(self._artifact.preprocess.apply(x), y)

    def added_bytes(self, x: NDArray[np.float32]) -> int:
        return self._learner.added_bytes(self._artifact.preprocess.apply(x))


def flip_bytes(artifact: Artifact, window: int, form: str) -> int:
    """Memory of one flip window of `window` samples beyond inference, from the sizes of the records involved.

    Feedback, coreset, input codes, statistics of window and coreset, and two candidate copies of the parameters; the
    taps form adds an int64 slope per weight.
    """
    program = artifact.program
    samples = window + len(artifact.coreset.y)
    logits = program.tensors[program.output].elements
    statistics = 4 * samples * (program.channel_count + program.pooled_count + logits)
    codes = window * program.tensors[program.input].nbytes
    candidates = 2 * (program.weight_count + 4 * program.channel_count)
    slopes = 8 * program.weight_count if form == "taps" else 0
    coreset = artifact.coreset.x.nbytes + artifact.coreset.y.nbytes
    return int(artifact.feedback.matrix.nbytes + coreset + codes + statistics + candidates + slopes)


def steps_of(updater: str, requested: int | None) -> int:
    """Steps a window: as requested, or what the updater is tuned for; 0 for one that never learns."""
    if updater == "none":
        return 0
    return requested or (STEPS if updater == "bp" else FlipSettings().steps)


@contextmanager
def on_device(form: str | None, deployed: Deployed) -> Iterator[Adaptation]:
    """The product with flips of a form, or never observing; its state lies in a folder that is removed afterwards."""
    artifact = files.read(deployed.path)
    settings = replace(artifact.settings, form=form or artifact.settings.form, steps=deployed.steps)
    with (
        tempfile.TemporaryDirectory(prefix="calibrant-bench-") as folder,
        Session.open(deployed.path, state=Path(folder) / "state.db", settings=settings) as session,
    ):
        yield OnDevice(session, artifact, form)


@contextmanager
def back_propagation(deployed: Deployed) -> Iterator[Adaptation]:
    """The `bp` baseline at its tuned learning rate, on the same network and coreset."""
    artifact = files.read(deployed.path)
    learner = BackPropagation(
        deployed.load_net(), *core(artifact), lr=rate(deployed.network, deployed.bits), steps=deployed.steps
    )
    yield Latent(learner, artifact)


def core(artifact: Artifact) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The artifact's coreset as a fake-quantized network sees it, float32[n, *input_shape], and its classes."""
    entry = artifact.program.tensors[artifact.program.input]
    x = decode_coreset(artifact.coreset.x, entry.scale, entry.zero_point, artifact.input_shape)
    return x, artifact.coreset.y


UPDATERS: Mapping[str, Callable[[Deployed], AbstractContextManager[Adaptation]]] = {
    "none": partial(on_device, None),
    "flip": partial(on_device, "pooled"),
    "flip-taps": partial(on_device, "taps"),
    "bp": back_propagation,
}
