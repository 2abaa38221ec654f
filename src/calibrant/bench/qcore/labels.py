"""Labels as they come in practice: all of them, a few, none, chosen by chance or by the device, at once or later."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from calibrant.bench.adaptation import Adaptation
from calibrant.core.errors import DataError
from calibrant.core.reports import UpdateReport
from calibrant.core.rng import generator
from calibrant.core.task import UNLABELED

Answer = TypeVar("Answer")

ALL = "all"
CHOICES = ("chance", "ask")


@runtime_checkable
class Asking(Protocol):
    """What can choose the samples that it wants labels of."""

    def ask(self, x: NDArray[np.float32], n: int) -> NDArray[np.int64]:
        """Indices int64[n] into a window."""


@runtime_checkable
class Deferring(Protocol):
    """What can keep a window until its labels arrive."""

    def defer(self, x: NDArray[np.float32]) -> Any:
        """Show a window without labels; gives what :meth:`label` takes."""

    def label(self, ticket: Any, y: NDArray[np.int64]) -> UpdateReport | None:
        """Labels int64[N] of a deferred window, -1 where there is none."""


class Keeper:
    """Keeps windows for a subject that does not."""

    def __init__(self, subject: Adaptation) -> None:
        self._subject = subject

    def defer(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return x

    def label(self, ticket: NDArray[np.float32], y: NDArray[np.int64]) -> UpdateReport | None:
        return self._subject.observe(ticket, y)


class Labeler:
    """Shows windows to one subject, with the labels that a regime grants.

    Parameters
    ----------
    subject : Adaptation
    labels : str
        Of each window: "all", a share such as "0.1" (at least one), or a number such as "9".
    choice : {"chance", "ask"}
        Which: drawn with the seed, the same for all subjects, or the subject's wish.
    delay : int
        Windows until labels arrive; those still on their way when the stream ends never do.
    seed : int

    Attributes
    ----------
    used : int
        Labels that have arrived.
    decisions : list of str
        What a session decided, window by window.
    untouched : int
        Windows on which a session tried nothing.
    seconds : float
        What the subject took to ask, keep and learn.
    """

    def __init__(self, subject: Adaptation, labels: str, choice: str, delay: int, seed: int) -> None:
        self.used = 0
        self.decisions: list[str] = []
        self.untouched = 0
        self.seconds = 0.0
        self._subject, self._labels, self._choice, self._delay = subject, labels, choice, delay
        self._keeper = subject if isinstance(subject, Deferring) else Keeper(subject)
        self._rng = generator(seed, "labels")
        self._waiting: deque[tuple[Any, NDArray[np.int64]]] = deque()

    def show(self, x: NDArray[np.float32], y: NDArray[np.int64]) -> None:
        """Give the next window, and the labels that arrive with it.

        Raises
        ------
        DataError
            If the window has fewer samples than labels are wanted, or the subject cannot ask.
        """
        shown = np.full(len(y), UNLABELED, np.int64)
        rows = self._choose(x, label_count(self._labels, len(y)))
        shown[rows] = y[rows]
        if self._delay:
            self._waiting.append((self._timed(self._keeper.defer, x), shown))
            if len(self._waiting) <= self._delay:
                return
            ticket, shown = self._waiting.popleft()
            report = self._timed(self._keeper.label, ticket, shown)
        else:
            report = self._timed(self._subject.observe, x, shown)
        self.used += int((shown != UNLABELED).sum())
        if report is not None:
            self.decisions.append(report.decision)
            self.untouched += report.updater == "none"

    def _choose(self, x: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        if count in (0, len(x)) or self._choice == "chance":
            return self._rng.permutation(len(x))[:count].astype(np.int64)
        if not isinstance(self._subject, Asking):
            raise DataError("label choice ask: expected an updater that can ask, got one that cannot")
        return self._timed(self._subject.ask, x, count)

    def _timed(self, call: Callable[..., Answer], *arguments: Any) -> Answer:
        start = time.perf_counter()
        answer = call(*arguments)
        self.seconds += time.perf_counter() - start
        return answer


def label_count(labels: str, samples: int) -> int:
    """How many labels a window of so many samples gets.

    Raises
    ------
    DataError
        If they are more than the samples.

    Examples
    --------
    >>> [label_count(labels, 91) for labels in ("all", "0", "9", "0.1", "0.001", "1.0")]
    [91, 0, 9, 9, 1, 91]
    """
    if labels == ALL:
        return samples
    count = max(1, round(float(labels) * samples)) if "." in labels else int(labels)
    if count > samples:
        raise DataError(f"labels: expected at most the {samples} samples of a window, got {count}")
    return count


def check_regime(labels: str) -> str:
    """A regime as it is written in rows: "all", "0", a number or a share between 0 and 1.

    Raises
    ------
    DataError
        If it is none of these.

    Examples
    --------
    >>> [check_regime(text) for text in ("all", "0", "0.0", "09", ".10", "1.0")]
    ['all', '0', '0', '9', '0.1', 'all']
    """
    if labels == ALL:
        return ALL
    if labels.isdigit():
        return str(int(labels))
    whole, point, rest = labels.partition(".")
    if point and (whole + rest).isdigit() and float(labels) <= 1:
        return {0.0: "0", 1.0: ALL}.get(float(labels), f"0.{rest.rstrip('0')}")
    raise DataError(f"labels: expected all, a share such as 0.1 or a number a window such as 9, got {labels}")
