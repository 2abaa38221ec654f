"""What a session holds in memory, byte for byte, and the refusal to hold more than a budget."""

from __future__ import annotations

from calibrant.artifact import Artifact
from calibrant.core.errors import BudgetError

_STREAMING_TESTS = 5120  # they grow with the logarithm of the labels seen: this is for 2^20 of them
_BYTES_OF_A_ROW = 5 * 8  # class, misses, origin, version and id of a sample that is kept


def resident(artifact: Artifact, engine_bytes: int, capacity: int, form: str) -> int:
    """Bytes held all the time.

    Parameters
    ----------
    artifact : Artifact
        Its own weights, coreset and feedback; the last version's weights come on top.
    engine_bytes : int
        `Engine.memory_bytes`: arena, weights in force, constants.
    capacity : int
        Samples of the coreset on the device.
    form : str
        Of the updater, see `FlipSettings`.
    """
    constants = artifact.constants
    parameters = 2 * (constants.weights.nbytes + constants.bias.nbytes)
    samples = (len(artifact.coreset.y) + capacity) * (_sample(artifact) + _BYTES_OF_A_ROW)
    own = accumulators(artifact, capacity) if form == "accumulated" else training(artifact) if form == "sparse" else 0
    return int(engine_bytes + parameters + samples + artifact.feedback.matrix.nbytes + own)


def accumulators(artifact: Artifact, capacity: int) -> int:
    """Bytes of the accumulating updater between windows: residuals and moments, three float32 a parameter, and what it
    remembers of the samples of both coresets, the artifact's and the device's."""
    parameters = artifact.program.weight_count + artifact.program.channel_count
    return 12 * parameters + (len(artifact.coreset.y) + capacity) * _remembered_logits(artifact)


def training(artifact: Artifact) -> int:
    """Bytes of the sparse updater: the arena of its step, accumulators and scales."""
    step = artifact.training
    if step is None:
        return 0
    scales = 12 * artifact.program.channel_count + step.head_scale.nbytes
    return step.arena_bytes + 4 * step.accumulator_count + scales


def gate(artifact: Artifact, capacity: int) -> int:
    """Bytes of the drift gate: features of both coresets, the artifact's and the device's, streaming tests, and while
    it compares them the parameters of two versions."""
    features = 2 * (len(artifact.coreset.y) + capacity) * artifact.program.layers[-1].c_in
    return features + _STREAMING_TESTS + 2 * (artifact.constants.weights.nbytes + artifact.constants.bias.nbytes)


def unsupervised(artifact: Artifact) -> int:
    """Bytes of learning without labels: evidence that waits and evidence that was used, and while it learns the
    parameters of the anchor and of three candidates."""
    constants, program = artifact.constants, artifact.program
    evidence = 8 * (program.pooled_count + len(artifact.classes) + 2)
    return 2 * evidence + 4 * (constants.weights.nbytes + constants.bias.nbytes)


def window(artifact: Artifact, samples: int, capacity: int, form: str) -> int:
    """Bytes that a window of `samples` adds: its codes, and joined with the coreset codes and statistics once more."""
    program = artifact.program
    outputs = program.tensors[program.output].elements
    statistics = 4 * (program.active_count + program.pooled_count + outputs)
    kept = _sample(artifact) + (_remembered_logits(artifact) if form == "accumulated" else 0)
    return int(samples * kept + (samples + capacity) * (_sample(artifact) + statistics))


def check(ram: int | None, needed: int, what: str) -> None:
    """Refuse to need more than the budget; None is unlimited.

    Raises
    ------
    BudgetError
        Names `what` needs the bytes, and how many too many.

    Examples
    --------
    >>> check(1000, 1200, "the model")
    Traceback (most recent call last):
    calibrant.core.errors.BudgetError: RAM budget is 1,000 bytes, the model needs 1,200 (200 over)
    """
    if ram is not None and needed > ram:
        raise BudgetError(f"RAM budget is {ram:,} bytes, {what} needs {needed:,} ({needed - ram:,} over)")


def _remembered_logits(artifact: Artifact) -> int:
    """Bytes of the outputs remembered of one sample, and of its name."""
    return 4 * artifact.program.tensors[artifact.program.output].elements + 8


def _sample(artifact: Artifact) -> int:
    return artifact.program.tensors[artifact.program.input].nbytes
