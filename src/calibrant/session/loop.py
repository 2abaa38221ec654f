"""One window through the loop: is there anything to learn, learn it, commit it or not, and say what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from calibrant.artifact import Artifact
from calibrant.core.decision import Action, Decision
from calibrant.core.errors import DataError
from calibrant.core.reports import Alert, UpdateReport
from calibrant.core.window import Window
from calibrant.memory.store import Entry
from calibrant.session.deployment import Deployment
from calibrant.session.drift_monitor import Assessment, DriftMonitor
from calibrant.session.label_screen import LabelScreen
from calibrant.session.lesson import Lesson
from calibrant.session.supervised import Adapter, Attempt
from calibrant.session.unsupervised import TestTimeAdapter


class Loop:
    """Acts on what policies decide; nothing else does.

    Parameters
    ----------
    artifact : Artifact
    deployed : Deployment
    supervised : Adapter
    unsupervised : TestTimeAdapter, optional
        None: nothing is learned from windows without labels.
    monitor : DriftMonitor, optional
        None: every window is learned from.
    screen : LabelScreen, optional
        None: every label is believed.
    """

    def __init__(
        self,
        artifact: Artifact,
        deployed: Deployment,
        supervised: Adapter,
        unsupervised: TestTimeAdapter | None,
        monitor: DriftMonitor | None,
        screen: LabelScreen | None = None,
    ) -> None:
        self._artifact, self._deployed = artifact, deployed
        self._supervised, self._unsupervised, self._monitor = supervised, unsupervised, monitor
        self._screen = screen
        self.resume()

    def resume(self) -> None:
        """Have every policy go on from what the state says."""
        memories = self._deployed.policies()
        for policy in (self._monitor, self._unsupervised):
            if policy is not None:
                policy.resume(memories)

    def learn(self, window: Window) -> UpdateReport:
        """Decide what can be learned from a window, learn it, and settle it."""
        try:
            with self._deployed.trial():
                return self._decide(window)
        except BaseException:  # what policies had in mind, nobody has written down
            self.resume()
            raise
        finally:
            self._deployed.keep_evaluations(self._artifact.coreset.x)

    def _decide(self, window: Window) -> UpdateReport:
        if not len(window.known):
            return self._study(window)
        self._arrive(window)
        assessment = None if self._monitor is None else self._monitor.look(window, self._place)
        if assessment is not None and assessment.decision.action is Action.REVERT:
            return self._revert(window, assessment)
        if assessment is not None and not assessment.decision.adapt:
            return self._stay(window, f"gate: {assessment.decision.reason}", assessment, context=self._place)
        return self._teach(window, assessment)

    def _arrive(self, window: Window) -> None:
        """Where the stream comes to a context that labels have taught, put in force what they taught."""
        attempt = None if self._unsupervised is None else self._unsupervised.arrive(window)
        if attempt is None:
            return
        if self._monitor is not None:
            self._monitor.replaced()
        about = self._whereabouts({"context": self._place}) | {"reason": attempt.decision.reason}
        entry = Entry(about, policies=self._memories())
        self._deployed.commit_or_restore(attempt, self._nothing(window), entry, vouched=True)

    def _nothing(self, window: Window) -> Lesson:
        """What a window without labels gives to learn from."""
        return Lesson.of(window, self._deployed.buffer).take(np.zeros(0, np.int64))

    @property
    def _place(self) -> int | None:
        return None if self._unsupervised is None else self._unsupervised.place

    def name(self, number: int, name: str) -> None:
        """Give a context a name, and write it down."""
        try:
            if self._unsupervised is None or not self._unsupervised.tracker.known:
                raise DataError("context: expected a session that tells contexts apart, got one that does not")
            self._unsupervised.tracker.name(number, name)
            self._deployed.note("named", Entry({"context": number, "context_name": name}, policies=self._memories()))
        except BaseException:
            self.resume()
            raise

    def _study(
        self,
        window: Window,
        said: str = "",
        assessment: Assessment | None = None,
        alerts: tuple[Alert, ...] = (),
    ) -> UpdateReport:
        """Learn from a window without labels, or one whose labels are not believed: `said`, `assessment` and `alerts`
        speak of these."""
        if self._unsupervised is None:
            return self._stay(window, said or "no labels", assessment, alerts)
        studied = self._unsupervised.adapt(window.codes, arrived=assessment is not None)
        about, alerts = {"context": studied.context, "accuracy_estimate": studied.estimate}, alerts + studied.alerts
        if studied.attempt is None:
            reason = f"{said}; {studied.reason}" if said else studied.reason
            return self._stay(window, reason, assessment, alerts, **about)
        attempt = studied.attempt
        if said:
            reason = f"{said}; {attempt.decision.reason}"
            attempt = replace(attempt, decision=replace(attempt.decision, reason=reason))
        return self._settle(window, attempt, self._nothing(window), None, alerts, **about)

    def _teach(self, window: Window, assessment: Assessment | None) -> UpdateReport:
        """Learn from the labels of a window that are believed."""
        self._deployed.begin_lesson()
        lesson, said, alerts = Lesson.of(window, self._deployed.buffer), "", tuple[Alert, ...]()
        if self._screen is not None and assessment is not None:
            screened = self._screen.screen(lesson, assessment.right)
            alerts = () if screened.alert is None else (screened.alert,)
            if screened.lesson is None:
                return self._study(window, screened.said, assessment, alerts)
            lesson, said = screened.lesson, screened.said
        samples, start = self._deployed.samples(lesson)
        home = None if self._monitor is None else self._deployed.home(lesson.buffer)
        attempt = self._supervised.adapt(lesson, samples, start, home)
        if assessment is not None and attempt.commits and self._deployed.pseudo_labeled:  # began from an earlier one
            now = assessment.right[np.searchsorted(window.known, lesson.rows)]
            if np.count_nonzero(now) > np.count_nonzero(attempt.after.right[: now.size]):
                better = Decision(Action.REJECT, "what is in force without labels does better")
                attempt = replace(attempt, decision=better)
        if said:
            reason = f"{attempt.decision.reason}; {said}"
            attempt = replace(attempt, decision=replace(attempt.decision, reason=reason))
        return self._settle(window, attempt, lesson, assessment, alerts, context=self._place)

    def _settle(
        self,
        window: Window,
        attempt: Attempt,
        lesson: Lesson,
        assessment: Assessment | None,
        alerts: tuple[Alert, ...] = (),
        **about: Any,
    ) -> UpdateReport:
        """Write down what came of an attempt, and what policies go on from."""
        deployed, number, facts = self._deployed, self._deployed.head.number, window.facts() | self._whereabouts(about)
        if self._monitor is not None and assessment is not None:
            self._monitor.learned()
            facts |= assessment.facts()
        if self._unsupervised is not None and lesson.y.size and attempt.commits:
            self._unsupervised.labeled(len(window.known), number + 1)
        if self._monitor is not None and not lesson.y.size and attempt.commits:
            self._monitor.replaced()
        entry = self._entry(window, facts, alerts)
        flips = deployed.commit_or_restore(attempt, lesson, entry, vouched=bool(lesson.y.size))
        decision = attempt.decision
        return window.report(
            deployed.head.number,
            decision.action.value,
            decision.reason,
            flips=flips,
            alerts=alerts,
            **attempt.measured(),
            **about,
        )

    def _revert(self, window: Window, assessment: Assessment) -> UpdateReport:
        """Put a version in force again that does better."""
        decision = assessment.decision
        assert decision.version is not None
        facts = window.facts() | assessment.facts() | {"reason": decision.reason}
        alert = Alert("went-back", assessment.lost, assessment.won, decision.reason)
        facts |= {"alerts": [alert.code]}
        if self._unsupervised is not None:  # what is in force again is what its context's labels speak for
            self._unsupervised.labeled(0, self._deployed.head.number + 1)
        policies = self._memories() | dict(assessment.policies)
        version = self._deployed.rollback(decision.version, Entry(facts, ticket=window.ticket, policies=policies))
        self.resume()
        return window.report(
            version.number,
            Action.REJECT.value,
            decision.reason,
            updater=version.updater,
            flips=version.flips,
            accuracy_before=assessment.accuracy,
            accuracy_after=assessment.home,
            alerts=(alert,),
            context=self._place,
        )

    def _stay(
        self,
        window: Window,
        reason: str,
        assessment: Assessment | None = None,
        alerts: tuple[Alert, ...] = (),
        **about: Any,
    ) -> UpdateReport:
        """Report a window that nothing was tried on. Its labels are kept where they may be true and there is room."""
        facts, accuracy = window.facts() | {"reason": reason} | self._whereabouts(about), None
        if assessment is not None:
            facts |= assessment.facts()
            accuracy = assessment.accuracy
        keeps = assessment is not None and assessment.keeps and not alerts
        lesson = Lesson.of(window, self._deployed.buffer) if keeps else None
        self._deployed.stay(self._entry(window, facts, alerts), lesson, assessment is not None and assessment.redraws)
        return window.report(
            self._deployed.head.number,
            Action.SKIP.value,
            reason,
            accuracy_before=accuracy,
            accuracy_after=accuracy,
            alerts=alerts,
            **about,
        )

    def _whereabouts(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """For the state's history: the context of a window, what it is called, and how it may be doing there."""
        facts = {name: value for name, value in about.items() if value is not None}
        known = () if self._unsupervised is None else self._unsupervised.tracker.known
        names = {context.number: context.name for context in known if context.name}
        if (name := names.get(facts.get("context", -1))) is not None:
            facts["context_name"] = name
        return facts

    def _entry(self, window: Window, facts: dict[str, Any], alerts: tuple[Alert, ...] = ()) -> Entry:
        if alerts:
            facts = facts | {"alerts": [alert.code for alert in alerts]}
        return Entry(facts, ticket=window.ticket, policies=self._memories())

    def _memories(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for policy in (self._monitor, self._unsupervised):
            if policy is not None:
                found |= policy.memory()
        return found
