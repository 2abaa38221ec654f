"""What the compositions share: samples at the door, the choice of a coreset, and what an artifact has beside a network.

Nothing here knows torch, nor whether the network was trained by us or came as integers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibrant import autodiff, plan
from calibrant import coreset as coresets
from calibrant.artifact import Artifact
from calibrant.core import nibbles
from calibrant.core.arrays import array_of
from calibrant.core.errors import DataError
from calibrant.core.logits import logits
from calibrant.core.program import Constants, Program
from calibrant.core.settings import FlipSettings
from calibrant.core.statistics import Coreset, FeatureStatistics, Feedback, InDistribution, Preprocess
from calibrant.core.task import check_labels
from calibrant.core.training import Training
from calibrant.core.window import check_window, encode
from calibrant.engine import Engine
from calibrant.pipeline import recognition
from calibrant.pipeline.home import pre_activations
from calibrant.policy.feature_distance import DISTANCE_ONE, Features, nearest
from calibrant.updaters import defaults

BATCH = 256  # samples a forward pass, which bounds memory and changes no number
_TWO_BIT_RATE = 3e-3  # where a code is as large as the weights, small steps take too long
_USUAL_WEIGHT = 0.05  # root mean square of the weights that rates were chosen for


@dataclass(frozen=True)
class Samples:
    """Training samples, checked: x float32[N, ...] in physical units, y int64[N], and the names of their classes.

    `blocks` int64[N]: which stretch of time each is of, where that is known.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    classes: tuple[str, ...]
    blocks: NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        x: NDArray[np.float32],
        y: NDArray[np.int64],
        classes: tuple[str, ...],
        blocks: NDArray[np.int64] | None = None,
    ) -> Samples:
        """Check samples; DataError if one is malformed, has no class, or one out of range."""
        x = array_of(x, "training samples")
        x = check_window(x, x.shape[1:])
        y = check_labels(y, len(x), len(classes))
        if (y < 0).any():
            raise DataError(f"training labels: expected a class for every sample, got {int((y < 0).sum())} unlabeled")
        return cls(x, y, classes, recognition.check_blocks(blocks, len(x)))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one sample."""
        return tuple(int(n) for n in self.x.shape[1:])

    @property
    def sha256(self) -> str:
        """Tells a report's readers which samples these were."""
        return hashlib.sha256(self.x.tobytes() + self.y.tobytes()).hexdigest()


@dataclass(frozen=True)
class Extras:
    """What one composition gives its artifact and another does not; `coreset_bits` as in `Coreset`."""

    feedback: Feedback
    settings: FlipSettings
    training: Training | None = None
    coreset_bits: int = 8


def choose(
    rule: str,
    samples: Samples,
    preprocess: Preprocess,
    size: int,
    seed: int,
    misses: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Indices of the samples that travel with the model; raises as `coreset.select`."""
    needs = coresets.RULES[rule].needs
    points = coresets.features(preprocess.apply(samples.x)) if needs == "features" else None
    return coresets.select(rule, samples.y, size, seed, misses, points)


def compose(
    engine: Engine,
    constants: Constants,
    samples: Samples,
    chosen: NDArray[np.int64],
    preprocess: Preprocess,
    extras: Extras,
) -> Artifact:
    """The artifact, with what a device is told of its training samples, but without a report.

    Parameters
    ----------
    engine : Engine
        Of the program and these `constants`.
    constants : Constants
    samples : Samples
    chosen : int64[n]
        Which of them travel, see `choose`.
    preprocess : Preprocess
    extras : Extras
    """
    program = engine.program
    codes = encode(samples.x, program.tensors[program.input], preprocess, samples.input_shape)
    reference, outputs, pooled = training_statistics(engine, codes)
    artifact = Artifact(
        program=program,
        constants=constants,
        preprocess=preprocess,
        feedback=extras.feedback,
        coreset=_coreset(codes[chosen], samples.y[chosen], extras.coreset_bits),
        reference=reference,
        classes=samples.classes,
        input_shape=samples.input_shape,
        training=extras.training,
        home=pre_activations(engine, codes, samples.y, len(samples.classes)),
        recognition=recognition.of(program, codes, pooled, samples.y, samples.blocks),
        settings=extras.settings,
    )
    wrong = logits(outputs, program, constants).argmax(axis=1) != samples.y
    return replace(artifact, usual=usual(artifact, engine, wrong, np.delete(pooled, chosen, axis=0)))


def training_step(program: Program, constants: Constants, scheme: str) -> Training:
    """The planned training step of a scheme by name; ModelError if the scheme or the program does not allow it."""
    chosen = autodiff.named(scheme, len(program.layers) - 1)
    return plan.schedule(autodiff.differentiate(program, constants, chosen), program)


def accuracy(artifact: Artifact, engine: Engine, x: NDArray[np.float32], y: NDArray[np.int64]) -> float:
    """Share of samples that the engine's current weights classify as `y`."""
    codes = encode(x, artifact.program.tensors[artifact.program.input], artifact.preprocess, artifact.input_shape)
    scores = logits(engine.infer(codes), artifact.program, artifact.constants)
    return float((scores.argmax(axis=1) == y).mean())


def training_statistics(
    engine: Engine, codes: NDArray[np.int8], batch: int = BATCH
) -> tuple[FeatureStatistics, NDArray[np.int32], NDArray[np.int32]]:
    """One forward pass over training samples int8[N, height, width, channels], `batch` of them at a time.

    Returns
    -------
    reference : FeatureStatistics
    outputs : int32[N, K]
    pooled : int32[N, channels]
        Pooled inputs of the last layer.
    """
    program = engine.program
    sums = np.zeros((2, program.pooled_count), np.int64)
    outputs, last = [], []
    for start in range(0, len(codes), batch):
        seen = engine.observe(codes[start : start + batch])
        pooled = seen.pooled.astype(np.int64)
        sums += pooled.sum(axis=0), (pooled * pooled).sum(axis=0)
        outputs.append(seen.outputs)
        last.append(seen.pooled[:, program.layers[-1].pooled_slice])
    mean, square = sums / (len(codes) * program.pooled_positions ** np.array([[1], [2]]))
    return FeatureStatistics.of(mean, square - mean**2), np.concatenate(outputs), np.concatenate(last)


def usual(artifact: Artifact, engine: Engine, wrong: NDArray[np.bool_], pooled: NDArray[np.int32]) -> InDistribution:
    """What the drift gate is to expect.

    Parameters
    ----------
    artifact : Artifact
        With its coreset and reference.
    engine : Engine
        With its weights.
    wrong : bool[N]
        Which training samples the network gets wrong.
    pooled : int32[M, channels]
        Pooled inputs of the last layer, of training samples that are not in the coreset.
    """
    error = float(wrong.mean())
    if not len(pooled) or not len(artifact.coreset.y):
        return InDistribution(error)
    features = Features.of(artifact.program, artifact.reference)
    distance, _ = nearest(features(pooled), features.observed(engine.observe(artifact.coreset.x)))
    return InDistribution(error, float(distance.mean()) / DISTANCE_ONE, float(distance.std()) / DISTANCE_ONE)


def usual_settings(form: str, steps: int | None, bits: int, weight: float = _USUAL_WEIGHT) -> FlipSettings:
    """What a device adapts with by default, by form, weight bits and size of most weights; `steps` instead of the
    form's own. Adam moves large and small weights alike, so small ones ask for a smaller rate.
    """
    rate = _TWO_BIT_RATE if bits == 2 else FlipSettings.rate
    return defaults(form, float(f"{rate * min(1.0, weight / _USUAL_WEIGHT):.2g}"), steps)


def weight_size(program: Program, constants: Constants) -> float:
    """Root mean square, in reals, of that layer's weights which the median weight belongs to, small layers first.

    Binary layers, which nobody moves, do not count; where all are, it is the usual one.
    """
    sizes = []
    for layer in (program.layers[number] for number in program.adaptable):
        codes = constants.weights[layer.weight_slice].reshape(layer.c_out, -1).astype(np.float64)
        reals = codes * constants.scale[layer.channel_slice][:, None]
        sizes.append((float(np.sqrt(np.mean(reals**2))), layer.weight_count))
    if not sizes:
        return _USUAL_WEIGHT
    sizes.sort()
    before = np.cumsum([count for _, count in sizes])
    return sizes[int(np.searchsorted(before, before[-1] / 2))][0]


def _coreset(codes: NDArray[np.int8], y: NDArray[np.int64], bits: int) -> Coreset:
    return Coreset(nibbles.rounded(codes), y, bits=4) if bits == 4 else Coreset(codes, y)
