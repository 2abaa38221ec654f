"""Which context the stream is in: recognizes windows, and pools those that do not stand for their domain alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.evaluation import Evaluation
from calibrant.memory.policies import Memory
from calibrant.policy.clumping import Clumping
from calibrant.policy.contexts import FEW, HOME, Context, Contexts, Recognized
from calibrant.policy.kept import fields_of, nonsense, whole
from calibrant.policy.label_free import BROAD, covers_classes
from calibrant.policy.place import MOST, Place
from calibrant.policy.signature import Signatures

ANYWHERE = 1  # number of the one context that there is where contexts are not told apart


class ContextTracker:
    """Follows a stream from context to context.

    Parameters
    ----------
    artifact : Artifact
    most : int
        Contexts to keep, home among them. With room for one, every window is of the same context, and none is home's;
        so it is, too, where the artifact does not say how contexts are told apart, or says that they cannot be.
    """

    def __init__(self, artifact: Artifact, most: int) -> None:
        self._artifact, self._home = artifact, artifact.recognition
        self._signatures = None if self._home is None else Signatures.of(artifact.program, self._home)
        recognizes = most > 1 and self._home is not None and self._home.recognizes
        self._most, self._told = most, self._home if recognizes else None  # by what contexts are told apart
        self._contexts: Contexts | None
        self._clumping: Clumping
        self._pending: Place | None  # windows that say too little, each by itself, together
        self._last: int | None  # the context entered last
        self._broad: bool  # whether the latest window was predicted to be of many classes
        self.resume({})

    def memory(self) -> dict[str, Any]:
        """What to go on from, by policy."""
        about = {
            "known": None if self._contexts is None else self._contexts.memory(),
            "clumping": self._clumping.memory(),
            "pending": None if self._pending is None else self._pending.memory(),
            "last": self._last,
            "broad": self._broad,
        }
        return {"contexts": about}

    def resume(self, memories: Mapping[str, Memory]) -> None:
        """Go on from what :meth:`memory` said; StateError if it did not."""
        self._clumping, self._pending, self._last, self._broad = Clumping(), None, None, False
        self._contexts = None if self._told is None else Contexts.of(self._told, most=self._most)
        if "contexts" not in memories or self._home is None:
            return
        names = ("known", "clumping", "pending", "last", "broad")
        kept, dimensions = fields_of(memories["contexts"].value, names, "contexts"), len(self._home.mean)
        if type(kept["broad"]) is not bool:
            raise nonsense("contexts field 'broad'", "true or false", kept["broad"])
        self._clumping, self._broad = Clumping.of(kept["clumping"], dimensions), kept["broad"]
        if self._told is None or kept["known"] is None:  # one of the two sessions tells none apart
            return
        self._contexts = Contexts.of(self._told, kept["known"], self._most)
        if kept["last"] is not None:
            self._last = whole(kept["last"], HOME, self._contexts.latest, "contexts field 'last'")
        if kept["pending"] is not None:
            sums = fields_of(kept["pending"], ("samples", "total", "squares"), "pending windows")
            self._pending = Place.kept(sums, dimensions, "pending windows")

    @property
    def known(self) -> tuple[Context, ...]:
        """The contexts, home first; none where they are not told apart."""
        return () if self._contexts is None else self._contexts.known

    @property
    def mixed(self) -> bool:
        """Whether windows show the classes as the stream does, each of them, as far as can be said."""
        return not self._clumping.clumped if self._clumping.known else self._broad

    def follow(self, x: NDArray[np.int8], seen: Evaluation) -> int | None:
        """Number of the context that the next window of the stream is of; a new one gets a number.

        Where classes come one after the other, a window says little: what several show together decides, and until then
        the stream is where it was. None: nobody knows where that is.

        Parameters
        ----------
        x : int8[N, height, width, channels]
        seen : Evaluation
            Of these samples, by the artifact's own parameters.
        """
        predicted = self._artifact.meaning.task.decode(seen.scores)
        self._broad = covers_classes(np.bincount(predicted, minlength=seen.scores.shape[1]), BROAD)
        if self._home is None:
            return ANYWHERE
        here = self._place(x, seen)
        self._clumping = self._clumping.after(here, self._home)
        if self._contexts is None:
            return ANYWHERE
        if self._clumping.clumped:
            here = here.joined(self._pending)
            count = int(self._clumping.independent(here.samples))
            if count < FEW and here.samples < MOST:  # more are not remembered
                self._pending = here
                return self._last
            here = here.counting(max(1, count))
        self._pending = None
        found = self._contexts.recognize(here).context
        self._contexts = self._contexts.seen(here, found)
        self._last = self._contexts.latest if found is None else found
        return self._last

    def recognize(self, x: NDArray[np.int8], seen: Evaluation) -> Recognized:
        """What samples are taken for; nothing changes. Only where contexts are told apart."""
        assert self._contexts is not None
        return self._contexts.recognize(self._place(x, seen))

    def name(self, number: int, name: str) -> None:
        """Give a context a name; DataError, see `Contexts.named`."""
        if self._contexts is not None:
            self._contexts = self._contexts.named(number, name)

    def _place(self, x: NDArray[np.int8], seen: Evaluation) -> Place:
        assert self._signatures is not None
        return Place.of(self._signatures(x, seen.observation))
