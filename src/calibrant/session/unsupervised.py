"""What windows without labels teach: which context they are of, and which of its candidates to believe.

A window is recognized by what it looks like to the artifact's own parameters (`policy.contexts`). At home those that
labels vouch for are in force. Elsewhere candidates compete: the artifact's parameters as they are, an affine correction
of its channels (`updaters.affine_correction`), and on top of that flips that the window's own labels ask for
(`policy.pseudo_labels`). Each is judged, as it stands, by windows that it has not learned from
(`policy.plausibility`); the best is in force. A context that comes again finds what it had; one that labels have
taught is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.decision import Action, Decision
from calibrant.core.evaluation import Evaluation
from calibrant.core.parameters import FLIPPED, Parameters
from calibrant.core.reports import Alert, KnownContext
from calibrant.core.task import UNLABELED
from calibrant.core.window import Window
from calibrant.engine import Engine
from calibrant.memory.policies import Memory
from calibrant.policy.contexts import HOME
from calibrant.policy.kept import fields_of, nonsense, whole
from calibrant.policy.label_free import LABELED as LABELS_A_CLASS
from calibrant.policy.label_free import effective_classes, narrow, narrow_limit
from calibrant.policy.plausibility import agreement, benefit_of_doubt
from calibrant.policy.sensor_fault import stuck_channels
from calibrant.policy.significance import ahead
from calibrant.policy.verification import Measured
from calibrant.session.class_watch import ClassWatch
from calibrant.session.context_tracker import ANYWHERE, ContextTracker
from calibrant.session.deployment import Deployment
from calibrant.session.domain import AFFINE, AS_IT_IS, CANDIDATES, FLIPS, LABELED, Domain, single
from calibrant.session.self_training import SelfTraining
from calibrant.session.supervised import Attempt
from calibrant.updaters.affine_correction import AffineCorrection, AffineMemory
from calibrant.updaters.base import UpdateOutcome

BLIND = 0.6  # where candidates predict fewer samples alike, somebody should know
RECOGNIZABLE = 8  # samples, at least, that are predicted by a context of their own
_MOST = 2**50  # contexts, more than there will be


@dataclass(frozen=True)
class Study:
    """What came of a window without labels: an attempt, or a reason why there is none.

    `context` is the number of its context, None where it is not known; `estimate` of the accuracy, a share of samples.
    """

    reason: str
    attempt: Attempt | None = None
    context: int | None = None
    alerts: tuple[Alert, ...] = ()
    estimate: float | None = None


class TestTimeAdapter:
    """Learns from windows without labels, or abstains.

    Parameters
    ----------
    artifact : Artifact
    engine : Engine
        Its parameters change; whoever does not commit them restores the old.
    deployed : Deployment
    coreset_drop : float
        See `artifact.THRESHOLDS`; counted from the artifact.
    most : int
        Contexts to keep, home among them, if the artifact says how they are told apart; 1: all windows are of one.
    watched : int
        Places in which to watch for classes that nobody has taught; 0: nobody does.
    """

    __test__ = False  # not a test case, whatever its name begins with

    def __init__(
        self, artifact: Artifact, engine: Engine, deployed: Deployment, coreset_drop: float, most: int, watched: int
    ) -> None:
        self._artifact, self._decode = artifact, artifact.meaning.task.decode
        self._engine, self._deployed = engine, deployed
        self._base = Parameters.of(artifact.constants)
        self._taught = LABELS_A_CLASS * len(artifact.classes)  # labels, from which on a context is left alone
        self._training = SelfTraining(artifact, engine, self._under, coreset_drop)
        self._correction = AffineCorrection.of(artifact) if artifact.home is not None else None
        self.tracker = ContextTracker(artifact, most)
        self._watch = ClassWatch(artifact, watched)
        self._domains: dict[int, Domain]
        self._current: int  # the context in force
        self._corrected: dict[int, Parameters]  # what affines come to, see `_affine`
        self.resume({})

    def memory(self) -> dict[str, Any]:
        """What to go on from, by policy."""
        domains = {str(number): domain.memory(self._base) for number, domain in sorted(self._domains.items())}
        return (
            {"domains": {"current": self._current, "domains": domains}} | self.tracker.memory() | self._watch.memory()
        )

    def resume(self, memories: Mapping[str, Memory]) -> None:
        """Go on from what :meth:`memory` said, under whatever version; StateError if it did not."""
        self.tracker.resume(memories)
        self._watch.resume(memories)
        self._domains, self._corrected, self._current = {}, {}, HOME
        if "domains" in memories:
            self._read(memories["domains"])
        self._leave()
        vouched = self._deployed.anchor().version
        if self._correction is not None and vouched > (memories["domains"].version if "domains" in memories else 0):
            # labels taught it, or somebody rolled back to it, unknown to what was kept
            domain = self._domains.get(self._current) or Domain(self._fresh())
            self._domains[self._current] = replace(domain, version=vouched)

    def _read(self, kept: Memory) -> None:
        about = fields_of(kept.value, ("current", "domains"), "domains")
        domains = about["domains"]
        if not isinstance(domains, dict) or not all(re.fullmatch("0|[1-9][0-9]{0,15}", name) for name in domains):
            raise nonsense("domains", "contexts by number", domains)
        self._current = whole(about["current"], HOME, _MOST, "domains field 'current'")
        self._domains = {int(n): Domain.of(domain, self._base, f"context {n}") for n, domain in domains.items()}

    def adapt(self, x: NDArray[np.int8], arrived: bool = False) -> Study:
        """Learn what a window teaches.

        Parameters
        ----------
        x : int8[N, height, width, channels]
        arrived : bool
            Whether :meth:`arrive` has followed the stream to it already: its labels have taught nothing.

        Returns
        -------
        Study
            The engine holds the parameters that an attempt speaks of; without one they are as they were.
        """
        if self._correction is None:
            return Study("abstained: the artifact does not say what is usual at home; prepare the model again")
        stuck = stuck_channels(x, self._artifact.program, self._artifact.reference)
        if stuck:
            text = f"input channels that stand still: {', '.join(map(str, stuck))}"
            return Study(f"abstained: {text}", alerts=(Alert("sensor-fault", len(stuck), 0, text),))
        seen, followed = self._under(self._base, x), arrived and bool(self.tracker.known)
        number = self._current if followed else self.tracker.follow(x, seen)
        self._engine.load(self._deployed.parameters)
        unknown = self._watch.look(x, seen) if self.tracker.mixed and not arrived else None
        study = self._study(x, number)
        return study if unknown is None else replace(study, alerts=(*study.alerts, unknown))

    def _study(self, x: NDArray[np.int8], number: int | None) -> Study:
        """Learn what a window of a context teaches; None: nobody knows of which."""
        if number is None:
            return Study("abstained: few classes, kept until more of them are seen")
        self._leave()
        if number == HOME:
            return self._recall(x, HOME, "nothing has shifted")
        domain = self._domains.get(number)
        if domain is not None and domain.labels >= self._taught:
            return self._recall(x, number, "labels have taught this context")
        return self._compete(x, number, self._tuned(domain))

    def arrive(self, window: Window) -> Attempt | None:
        """Follow the stream to a window with labels. Where it comes to another context, what labels have taught there,
        or the artifact at home, should be in force again, unless these labels say that what is in force does better:
        then an attempt, and the engine holds its parameters."""
        if not self.tracker.known:
            return None
        seen = self._under(self._base, window.codes)
        number = self.tracker.follow(window.codes, seen)
        self._watch.learned(window.codes, seen)
        self._engine.load(self._deployed.parameters)
        self._leave()
        if number is None or number == self._current:
            return None
        self._current, domain = number, self._domains.get(number)
        if number != HOME and (domain is None or domain.labels < self._taught):
            return None
        own, codes, y = self._chosen(number), window.codes[window.known], window.labels[window.known]
        if own == self._deployed.parameters:
            return None
        now, then = self._under(self._deployed.parameters, codes, y), self._under(own, codes, y)
        if ahead(int((now.right & ~then.right).sum()), int((then.right & ~now.right).sum())):
            self._engine.load(self._deployed.parameters)
            self.labeled(0, self._deployed.anchor().version)
            return None
        return self._recalled(own, then, codes, f"context {number} again")

    @property
    def place(self) -> int | None:
        """Number of the context that the stream is in; None where contexts are not told apart."""
        return self._current if self.tracker.known else None

    def labeled(self, labels: int, version: int) -> None:
        """Take note that `labels` of the window that the stream is at teach a version that comes into force."""
        if self._correction is None:
            return
        if not self.tracker.known:
            self._current = ANYWHERE
        domain = self._domains.get(self._current) or Domain(self._fresh())
        self._domains[self._current] = replace(domain, labels=domain.labels + labels, version=version)

    def parameters(self, x: NDArray[np.int8]) -> Parameters:
        """By which samples are to be predicted: those of their own context, if it is recognized; nothing changes."""
        deployed, known = self._deployed, self.tracker.known
        alone = len(known) <= 1 and deployed.parameters == self._chosen(HOME)
        if not known or alone or len(x) < RECOGNIZABLE:
            return deployed.parameters
        self._engine.load(self._base)
        unlabeled, meaning = np.full(len(x), UNLABELED), self._artifact.meaning
        seen = Evaluation.of(self._base, self._engine.observe(x), unlabeled, meaning)  # nobody will ask about it again
        found = self.tracker.recognize(x, seen)
        number = found.nearest
        labeled = not deployed.pseudo_labeled and found.closest != HOME
        if found.context is None and (labeled or not self.tracker.mixed):
            number = self._current  # labels from elsewhere are worth more than none; few classes tell of no place
        return deployed.parameters if number == self._current else self._chosen(number)

    def contexts(self) -> tuple[KnownContext, ...]:
        """What is known, home first; nothing where contexts are not told apart."""
        found = []
        for context in self.tracker.known:
            domain = self._domains.get(context.number)
            labels, version, candidate = (
                (0, -1, AS_IT_IS) if domain is None else (domain.labels, domain.version, domain.chosen)
            )
            found.append(
                KnownContext(
                    context.number,
                    context.name,
                    context.place.samples,
                    labels,
                    version if version >= 0 else None,
                    candidate,
                )
            )
        return tuple(found)

    def _compete(self, x: NDArray[np.int8], number: int, domain: Domain) -> Study:
        """Let the candidates of a context be judged by a window, then learn from it, and put the best in force."""
        assert self._correction is not None
        training, weights, name = self._training, domain.weights, "affine"
        memory = single(self._correction.correct(self._engine, x, domain.affine)[1])
        candidates, anchor = {AS_IT_IS: self._base}, self._deployed.anchor().parameters
        if anchor != self._base:
            candidates[LABELED] = anchor
        candidates[AFFINE] = affine = self._affine(number, memory)
        flipped = training.flip(x, affine if weights is None else affine.replaced(**{FLIPPED: weights}))
        if flipped is not None:
            name = f"affine+{flipped.updater}"
            if training.collapsed(x, affine, flipped):
                weights = None
            elif not training.harmful(flipped.last.parameters[FLIPPED]):
                weights = flipped.last.parameters[FLIPPED]
        if weights is not None:
            candidates[FLIPS] = affine.replaced(**{FLIPPED: weights})
        seen = {candidate: training.seen(each, x) for candidate, each in candidates.items()}
        scores = {candidate: training.plausibility(each) for candidate, each in seen.items()}
        scores[AS_IT_IS] += benefit_of_doubt(len(x))
        contest = domain.contest.after(scores).among(candidates)
        chosen = contest.winner(CANDIDATES)
        self._domains[number] = replace(domain, affine=memory, weights=weights, contest=contest, chosen=chosen)
        predicted = {candidate: self._decode(each.scores[: len(x)]) for candidate, each in seen.items()}
        estimate, alert = self._doubt(predicted, chosen)
        study = self._put(x, number, f"context {number}: {chosen}", name if chosen == FLIPS else "affine")
        return replace(study, alerts=() if alert is None else (alert,), estimate=estimate)

    def _doubt(self, predicted: dict[str, NDArray[np.int64]], chosen: str) -> tuple[float | None, Alert | None]:
        """How many samples may be predicted right, and whether somebody should know that it is few.

        Candidates that have all fallen for one class agree, and say nothing; nobody can tell that from a stream of one
        class, so it is said as well.
        """
        counts = np.bincount(predicted[chosen], minlength=len(self._artifact.classes))
        if narrow(counts):
            classes, least = effective_classes(counts), narrow_limit(counts.size)
            text = f"inputs are unlike home, predictions of {classes:.1f} effective classes, and no label: give some"
            return None, Alert("blind", round(classes, 4), least, text)
        estimate = agreement(list(predicted.values()))
        if estimate is None or estimate >= BLIND:
            return estimate, None
        text = f"candidates predict {estimate:.0%} of the samples alike, and no label says who is right: give some"
        return estimate, Alert("blind", round(estimate, 4), BLIND, text)

    def _tuned(self, domain: Domain | None) -> Domain:
        """With a memory for the order that samples come in: windows of few classes must not rule it."""
        fresh = self._fresh()
        if domain is None:
            return Domain(fresh)
        if domain.affine.limit == fresh.limit:
            return domain
        return replace(domain, affine=fresh, weights=None, contest=domain.contest.among((AS_IT_IS, LABELED)))

    def _fresh(self) -> AffineMemory:
        assert self._correction is not None
        return self._correction.from_nothing() if self.tracker.mixed else single(self._correction.from_home())

    def _affine(self, number: int, memory: AffineMemory) -> Parameters:
        """What a context's memory comes to. Computed from what is kept, so that a state opened again goes on alike."""
        assert self._correction is not None
        entry = self._artifact.program.tensors[self._artifact.program.input]
        nothing = np.zeros((0, entry.height, entry.width, entry.channels), np.int8)
        self._corrected[number] = self._correction.correct(self._engine, nothing, memory)[0]
        return self._corrected[number]

    def _chosen(self, number: int) -> Parameters:
        """What is in force in a context: at home what its labels taught, or the artifact's; elsewhere what its labels
        taught, if they are many or nothing was tried without them, else what was taught last."""
        domain = self._domains.get(number)
        tried = domain is not None and bool(domain.contest.standings)
        enough = domain is not None and (number == HOME or not tried or domain.labels >= self._taught)
        if domain is not None and domain.version >= 0 and enough:
            return self._deployed.at(domain.version)
        if number == HOME:
            return self._base
        if domain is None or not tried:
            return self._deployed.anchor().parameters
        if domain.chosen == AS_IT_IS:
            return self._base
        if domain.chosen == LABELED:
            return self._deployed.anchor().parameters
        affine = self._corrected.get(number) or self._affine(number, domain.affine)
        if domain.chosen == AFFINE or domain.weights is None:
            return affine
        return affine.replaced(**{FLIPPED: domain.weights})

    def _recall(self, x: NDArray[np.int8], number: int, reason: str) -> Study:
        """Put in force what a context has, and do not change it."""
        if self._chosen(number) == self._deployed.parameters:
            self._current = number
            return Study(f"abstained: {reason}", context=number)
        return self._put(x, number, f"context {number}, {reason}", "recall")

    def _put(self, x: NDArray[np.int8], number: int, reason: str, name: str) -> Study:
        """Put in force what a context has. A correction that changes no prediction is not worth a version."""
        now, parameters = self._deployed.parameters, self._chosen(number)
        flips = int(np.count_nonzero(parameters[FLIPPED] != now[FLIPPED]))
        seen, entered, self._current = self._under(parameters, x), number != self._current, number
        if parameters == now or not (entered or flips or self._differ(seen, x)):
            self._engine.load(now)
            return Study(f"no labels: {reason}, as before", context=number)
        return Study(reason, self._recalled(parameters, seen, x, f"no labels: {reason}", name), number)

    def _recalled(
        self, parameters: Parameters, seen: Evaluation, x: NDArray[np.int8], reason: str, name: str = "recall"
    ) -> Attempt:
        """Parameters, under which samples were `seen`, that are known to be good: to come into force as they are."""
        self._engine.load(parameters)
        flips = int(np.count_nonzero(parameters[FLIPPED] != self._deployed.parameters[FLIPPED]))
        nothing = np.zeros(0, np.int64)
        measured = Measured(None, None, nothing, 0.0, nothing.astype(np.bool_))
        outcome = UpdateOutcome(name, 0, 0, 0.0, 0.0, flips, nothing, seen)
        return Attempt(outcome, measured, measured, Decision(Action.COMMIT, reason), x)

    def _differ(self, seen: Evaluation, x: NDArray[np.int8]) -> bool:
        """Whether the parameters in force predict samples otherwise."""
        now = self._under(self._deployed.parameters, x)
        return not np.array_equal(self._decode(now.scores), self._decode(seen.scores))

    def _leave(self) -> None:
        """Forget what contexts had that are known no more."""
        numbers = {context.number for context in self.tracker.known}
        for number in set(self._domains) - numbers if numbers else ():
            del self._domains[number]
            self._corrected.pop(number, None)

    def _under(self, parameters: Parameters, x: NDArray[np.int8], y: NDArray[np.int64] | None = None) -> Evaluation:
        """Samples under some parameters, which the engine then holds."""
        in_force = self._deployed.parameters
        self._engine.load(in_force if parameters == in_force else parameters)
        return self._deployed.evaluator.of(x, y)
