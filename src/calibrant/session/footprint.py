"""What a session holds in memory, byte for byte, and the refusal to hold more than a budget."""

from __future__ import annotations

from dataclasses import dataclass, replace

from calibrant.artifact import Artifact
from calibrant.core.errors import BudgetError
from calibrant.core.parameters import Parameters
from calibrant.policy.novelty import MOST as KNOWN
from calibrant.policy.novelty import SEARCHING, WAITING
from calibrant.session.domain import CANDIDATES
from calibrant.updaters.base import Updater

_STREAMING_TESTS = 5120  # they grow with the logarithm of the labels seen: this is for 2^20 of them
_BYTES_OF_A_CLASS = 8
_BYTES_OF_A_ROW = 5 * 8  # class, misses, origin, version and id of a sample that is kept


@dataclass(frozen=True)
class Footprint:
    """The sizes that a session's memory follows from.

    `engine_bytes` is `Engine.memory_bytes`: arena, parameters in force, constants. `capacity` samples of the coreset on
    the device; `gated` and `unlabeled` as `Session.open` has them; `places` contexts, home among them; `watched` places
    in which new classes are looked for.
    """

    artifact: Artifact
    updater: Updater
    engine_bytes: int
    capacity: int
    gated: bool
    unlabeled: bool
    places: int = 1
    watched: int = 0

    @property
    def resident(self) -> int:
        """Bytes held all the time. The last version's parameters come on top of the artifact's own, and what they gave
        on both coresets, the artifact's and the device's, and the artifact's on its own."""
        artifact, parameters = self.artifact, _parameters(self.artifact)
        samples = self._coresets * (_sample(artifact) + _BYTES_OF_A_ROW + _evaluation(artifact))
        samples += len(artifact.coreset.y) * _evaluation(artifact)
        own = self.updater.resident_bytes(artifact, self.capacity)
        total = self.engine_bytes + 2 * parameters + samples + artifact.feedback.matrix.nbytes + own
        return int(total + (self._gate if self.gated else 0) + (self._unsupervised if self.unlabeled else 0))

    def window(self, samples: int) -> int:
        """Bytes that a window of `samples` adds: its codes, and the larger of what it takes with labels and without.

        With: joined with the coreset codes and statistics once more, before a step and after it, and what the updater
        takes to learn. Without: joined with the artifact's coreset under each candidate, and by itself under the
        artifact's parameters and those in force.
        """
        artifact, seen = self.artifact, _evaluation(self.artifact)
        labeled = (samples + self.capacity) * (_sample(artifact) + seen) + self.updater.learning_bytes(artifact)
        joined = samples + len(artifact.coreset.y)
        studied = joined * (_sample(artifact) + len(CANDIDATES) * seen) + 2 * samples * seen
        return int(samples * _sample(artifact) + max(labeled, studied if self.unlabeled else 0))

    def check(self, ram: int | None, samples: int) -> None:
        """Refuse a window of `samples` that does not fit beside what is held anyway; BudgetError, see :func:`check`."""
        needed, what = self.resident, "the model"
        if samples:
            needed += self.window(samples)
            what = f"the model with a window of {samples} samples"
        check(ram, needed, what)

    @property
    def _coresets(self) -> int:
        return len(self.artifact.coreset.y) + self.capacity

    @property
    def _gate(self) -> int:
        """Of the drift gate: features of both coresets, streaming tests, and while it compares them the parameters of
        two versions."""
        features = 2 * self._coresets * self.artifact.program.layers[-1].c_in
        return features + _STREAMING_TESTS + 2 * _parameters(self.artifact)

    @property
    def _unsupervised(self) -> int:
        """Of learning without labels: the parameters of the anchor and of each candidate, what contexts take, and what
        the search for new classes does."""
        search = SEARCHING + self.watched * self._familiar if self.watched else 0
        return (1 + len(CANDIDATES)) * _parameters(self.artifact) + self.places * self._context + search

    @property
    def _familiar(self) -> int:
        """Of each place in which new classes are looked for: its samples and those that wait."""
        known = self.artifact.recognition
        return 0 if known is None else (KNOWN + WAITING) * (len(known.mean) + _BYTES_OF_A_CLASS)

    @property
    def _context(self) -> int:
        """Of each context: its place, sums over its channels, constants that follow from them, and its own weights."""
        program, known = self.artifact.program, self.artifact.recognition
        place = 0 if known is None else 8 * len(known.mean)
        return place + 3 * 8 * program.channel_count + _parameters(self.artifact)

    def placed(self, ram: int | None, most: int) -> Footprint:
        """With as many contexts as there is room for, `most` at most and one at least: they get half of what a budget
        leaves, windows the other half. What they leave of theirs is for the search for new classes."""
        known = self.artifact.recognition
        watched = 0 if known is None or not known.recognizes or not self.unlabeled else most
        if ram is None:
            return replace(self, places=most, watched=watched)
        half = max(0, ram - self.resident) // 2
        places = min(most, 1 + half // self._context)
        left = half - (places - 1) * self._context - SEARCHING
        return replace(self, places=places, watched=min(watched, max(0, left) // self._familiar) if watched else 0)


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


def _parameters(artifact: Artifact) -> int:
    return Parameters.of(artifact.constants).nbytes


def _evaluation(artifact: Artifact) -> int:
    """Bytes of what a forward pass says of one sample."""
    program = artifact.program
    return 4 * (program.active_count + program.pooled_count + program.tensors[program.output].elements)


def _sample(artifact: Artifact) -> int:
    return artifact.program.tensors[artifact.program.input].nbytes
