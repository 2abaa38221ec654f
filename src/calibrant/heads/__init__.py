"""Heads that learn new classes on a device: `HEADS` is the one list of them, a row a kind.

A head sees what the last layer of a network would see, in whole numbers, while everything below stays as it is. It is a
record: what learns, forgets or renames gives another one, so the one before is there to go back to. `state()` is arrays
and a little JSON, :func:`resume` the way back, `classifier` the one linear layer that answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from calibrant.core.errors import StateError, check_known
from calibrant.heads.classifier import Classifier
from calibrant.heads.cwr import Cwr, CwrSettings
from calibrant.heads.lesson import Lesson, features
from calibrant.heads.ncm import Ncm
from calibrant.heads.slda import Slda, SldaSettings
from calibrant.heads.state import State

__all__ = ["HEADS", "Classifier", "CwrSettings", "Head", "Lesson", "SldaSettings", "State", "features", "new", "resume"]


class Head(Protocol):
    """What every head is and does."""

    kind: ClassVar[str]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what it knows, in the order of the classifier's rows."""

    @property
    def classifier(self) -> Classifier:
        """What answers."""

    def learn(self, lesson: Lesson) -> Self:
        """With more samples, of classes known or new; DataError if they do not fit."""

    def forget(self, name: str) -> Self:
        """Without a class; DataError if it is not known."""

    def rename(self, old: str, new: str) -> Self:
        """With another name for a class; DataError if `old` is not known or `new` another class's."""

    def state(self) -> State:
        """All that it goes on from."""

    @classmethod
    def resume(cls, state: State) -> Self:
        """The head that said this of itself; StateError if no head did."""


@dataclass(frozen=True)
class Row:
    """A kind of head: the class, and what it is in a few words."""

    head: type[Any]
    about: str


HEADS: Mapping[str, Row] = {
    "cwr": Row(Cwr, "one linear layer by gradient, averaged by counts; hardly any memory"),
    "slda": Row(Slda, "class means under one shared covariance; the most accurate, memory grows with features squared"),
    "ncm": Row(Ncm, "class means; one sum a class"),
}


def new(kind: str, settings: Any = None) -> Head:
    """A head that knows nothing.

    Parameters
    ----------
    kind : str
        A key of `HEADS`.
    settings : CwrSettings or SldaSettings, optional
        Of that kind, where it has any.

    Raises
    ------
    DataError
        There is no such kind; lists those there are.

    Examples
    --------
    >>> new("slda").classes
    ()
    """
    check_known("head", kind, HEADS)
    made: Head = HEADS[kind].head.new() if settings is None else HEADS[kind].head.new(settings)
    return made


def resume(state: State) -> Head:
    """The head that said this of itself.

    Raises
    ------
    StateError
        No head did.

    Examples
    --------
    >>> resume(new("ncm").state()).classes
    ()
    """
    check_known("head", state.kind, HEADS, StateError)
    found: Head = HEADS[state.kind].head.resume(state)
    return found
