"""What is in force on the device: a version, its parameters in the engine, and the coreset, in step with the state.

The one place that begins, commits and rolls back, and that swaps what the engine holds: parameters in force and on
trial are two `Parameters`, and coming into force is one assignment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.evaluation import Evaluation
from calibrant.core.parameters import Parameters
from calibrant.core.reports import Version
from calibrant.engine import Engine
from calibrant.memory.delta import difference
from calibrant.memory.policies import Memory
from calibrant.memory.replay import ReplayBuffer, beside, identities, resample, update_misses
from calibrant.memory.samples import fingerprint
from calibrant.memory.store import Entry, Store
from calibrant.session.evaluator import Evaluator
from calibrant.session.lesson import Lesson
from calibrant.session.supervised import Attempt
from calibrant.updaters.base import Samples


@dataclass(frozen=True)
class Anchor:
    """The last version that labels vouch for: the artifact's, one learned from labels, or one rolled back to."""

    version: int
    parameters: Parameters


@dataclass(frozen=True)
class Keeping:
    """How the coreset is kept: samples that it may hold, the share of its places that belongs to the artifact's
    samples (see `memory.replay.resample`), whether attempts change it, and whether scores are remembered."""

    capacity: int
    source_share: float
    update_replay: bool
    distills: bool


class Deployment:
    """Starts with what the state holds.

    Parameters
    ----------
    artifact : Artifact
    engine : Engine
        Holds the parameters in force, except while something is tried.
    store : Store
        Opened for this artifact.
    keeping : Keeping

    Attributes
    ----------
    head : Version
        The version in force.
    parameters : Parameters
        Its parameters.
    buffer : ReplayBuffer
        The coreset in force.
    evaluator : Evaluator
        Asks the engine.
    """

    def __init__(self, artifact: Artifact, engine: Engine, store: Store, keeping: Keeping) -> None:
        self._artifact, self._engine, self._store, self._keeping = artifact, engine, store, keeping
        self._base = Parameters.of(artifact.constants)
        self._base_scores: NDArray[np.float32] | None = None
        self.evaluator = Evaluator(engine, artifact.meaning, self._base)
        self.head: Version
        self.parameters: Parameters
        self.buffer: ReplayBuffer
        self._vouched: int  # number of the version that `anchor` gives
        self._load()

    @contextmanager
    def trial(self) -> Iterator[None]:
        """While something is learned. However it ends, an interrupt included, the engine then holds what is in
        force."""
        try:
            yield
            self._engine.load(self.parameters)
        except BaseException:
            self.recover()
            raise

    def begin_lesson(self) -> None:
        """Have the engine hold what labels start from: what others vouch for, as guesses are worth less than any of
        them."""
        if self.pseudo_labeled:
            self._engine.load(self.anchor().parameters)

    def recover(self) -> None:
        """After an error or interrupt: the last parameters that we know to be good, then what the state holds, which is
        newer if a commit had just been written."""
        self._engine.load(self.parameters)
        self._load()

    @property
    def pseudo_labeled(self) -> bool:
        """Whether the version in force was learned without labels."""
        return self._vouched != self.head.number

    def policies(self) -> dict[str, Memory]:
        """What each policy said of itself last, and under which version."""
        return self._store.policies()

    def at(self, number: int) -> Parameters:
        """Parameters of a version; StateError if there is none, or the state is damaged."""
        return self.parameters if number == self.head.number else self._store.parameters_at(number, self._base)

    def anchor(self) -> Anchor:
        """The last version that was not learned without labels."""
        return Anchor(self._vouched, self.at(self._vouched))

    def samples(self, lesson: Lesson) -> tuple[Samples, Evaluation]:
        """A lesson's window and coreset together as an updater sees them, each counting once, and their evaluation."""
        x, buffer = lesson.x, lesson.buffer
        codes, labels = np.concatenate([x, buffer.x]), np.concatenate([lesson.y, buffer.y])
        start = self.evaluator.of(codes, labels)
        remembered = None
        if self._keeping.distills:
            unknown = np.full((len(x), start.scores.shape[1]), np.nan, np.float32)
            remembered = np.concatenate([unknown, self._remembered(buffer)])
        return Samples(codes, labels, np.ones(len(labels), np.int64), remembered), start

    def commit_or_restore(
        self,
        attempt: Attempt,
        lesson: Lesson,
        entry: Entry,
        *,
        vouched: bool,
    ) -> int:
        """Commit what was learned, or undo it; keep the labels either way, they are true whatever the weights are.

        Parameters
        ----------
        attempt : Attempt
        lesson : Lesson
            What it learned from; no samples, where there were no labels.
        entry : Entry
            What to write beside it.
        vouched : bool
            Whether labels speak for it.

        Returns
        -------
        int
            Weights that it moved.

        Raises
        ------
        StateError, BudgetError
            The state cannot be written. Nothing is committed, and :meth:`recover` is due.
        """
        learned = attempt.outcome.last.parameters
        delta, buffer = difference(self.parameters, learned), self._resampled(attempt, lesson)
        facts = {**entry.facts, **attempt.metrics(), "coreset": len(buffer), "coreset_source": buffer.of_source}
        facts["coreset_sha256"] = fingerprint(buffer)
        entry = replace(entry, facts=facts, coreset=buffer if self._keeping.update_replay else None)
        if attempt.commits:
            self.head = self._store.commit(
                delta,
                entry,
                parent=self.head.number,
                sha256=learned.sha256,
                updater=attempt.outcome.updater,
                vouched=vouched,
            )
            self.parameters = learned
            self._vouched = self.head.number if vouched else self._vouched
            self.evaluator.enter(learned)
            self.evaluator.add(attempt.codes, attempt.outcome.last)
        else:
            reason = {"reason": attempt.decision.reason}
            self._store.record(attempt.decision.action.value, replace(entry, facts=reason | facts))
            self._engine.load(self.parameters)
        self.buffer = buffer
        return delta.flips

    def stay(self, entry: Entry, lesson: Lesson | None = None, redraw: bool = False) -> None:
        """Write down that a window was skipped; the labels of a lesson are kept where there is room, or `redraw`."""
        if lesson is not None and self._keeping.update_replay and lesson.y.size:
            room = self._keeping.capacity - len(self.buffer)
            if room > 0 or redraw:
                right = self.evaluator.of(lesson.x, lesson.y).right
                fresh = self.buffer.of_stream(lesson.x, lesson.y, self.head.number)
                misses = update_misses(fresh.misses, np.zeros(len(fresh), np.int64), right, right)
                kept = replace(fresh, misses=misses)
                self.buffer = resample(self.buffer, kept, self._keeping.capacity, self._keeping.source_share)
                entry = replace(entry, coreset=self.buffer)
        self._store.record("skipped", entry)

    def note(self, kind: str, entry: Entry) -> None:
        """Write down an event that changes nothing else."""
        self._store.record(kind, entry)

    def home(self, buffer: ReplayBuffer) -> NDArray[np.bool_]:
        """Which of the artifact's samples in a coreset the artifact itself has right, bool[those]."""
        return self._artifact.meaning.task.right(self._own_scores(buffer), buffer.y[buffer.source])

    def rollback(self, to: int, entry: Entry | None = None) -> Version:
        """Restore the parameters of a version; see `Session.rollback`."""
        self.at(to)  # refuses what cannot be restored
        try:
            return self._store.rollback(to, entry)
        finally:
            self.recover()

    def forget(self) -> int:
        """Delete the stream's samples; see `Session.forget`."""
        try:
            return self._store.forget()
        finally:
            self.recover()

    def keep_evaluations(self, extra: NDArray[np.int8] | None = None) -> None:
        """Bound what the evaluator remembers to the coreset, and what else will be asked about again."""
        held = self.buffer.x
        self.evaluator.keep(held if extra is None else np.concatenate([held, extra]))

    def _load(self) -> None:
        artifact, keeping = self._artifact, self._keeping
        self.head = self._store.head()
        parameters = self._store.parameters_at(self.head.number, self._base)
        self._vouched = self._store.vouched().number
        self._engine.load(parameters)
        self.parameters = parameters
        self.evaluator.enter(parameters)
        outputs = artifact.program.tensors[artifact.program.output].elements
        buffer = self._store.coreset(artifact.coreset, artifact.meaning.labels, outputs if keeping.distills else 0)
        nothing = buffer.take(np.zeros(0, np.int64))
        over = len(buffer) > keeping.capacity
        self.buffer = resample(buffer, nothing, keeping.capacity, keeping.source_share) if over else buffer

    def _remembered(self, buffer: ReplayBuffer) -> NDArray[np.float32]:
        """Scores float32[coreset, K] to distill: of the artifact's samples its own, whatever is in force."""
        remembered = buffer.scores.copy()
        remembered[buffer.source] = self._own_scores(buffer)
        return remembered

    def _own_scores(self, buffer: ReplayBuffer) -> NDArray[np.float32]:
        """What the artifact gives on those of its samples that a coreset holds, float32[those, K]."""
        own = self._artifact.coreset
        if self._base_scores is None:
            held = self._engine.parameters  # in force, or the anchor's
            if held != self._base:
                self._engine.load(self._base)
            self._base_scores = self.evaluator.of(own.x, own.y).scores
            self._engine.load(held)
        place = {number: row for row, number in enumerate(identities(own.x, own.y).tolist())}
        rows = [place[number] for number in buffer.id[buffer.source].tolist()]
        return self._base_scores[np.array(rows, np.int64)]

    def _resampled(self, attempt: Attempt, lesson: Lesson) -> ReplayBuffer:
        """The coreset after an attempt. A window that was learned already takes no one's place, so that steady
        operation does not wear the flash."""
        x, y, buffer, keeping = lesson.x, lesson.y, lesson.buffer, self._keeping
        full = len(self.buffer) >= keeping.capacity
        if not keeping.update_replay or y.size == 0 or (attempt.outcome.steps == 0 and full):
            return self.buffer
        window = attempt.experienced(buffer.of_stream(x, y, self.head.number), slice(0, y.size))
        held = attempt.experienced(buffer, slice(y.size, None))
        drawn = resample(held, window, keeping.capacity, keeping.source_share)
        return drawn if lesson.aside is None else beside(drawn, lesson.aside, keeping.capacity)
