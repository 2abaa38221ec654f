"""Which context the stream is in: recognizes windows, and pools those that do not stand for their domain alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.artifact import Artifact
from calibrant.core.evaluation import Evaluation
from calibrant.memory.policies import Memory
from calibrant.policy.contexts import Context, Contexts, Recognized
from calibrant.policy.kept import fields_of
from calibrant.policy.label_free import BROAD, Evidence, covers_classes
from calibrant.policy.place import Place
from calibrant.policy.signature import Signatures

ANYWHERE = 1  # number of the one context that there is where contexts are not told apart


class ContextTracker:
    """Follows a stream from context to context.

    Parameters
    ----------
    artifact : Artifact
    recognizes : bool
        False: every window is of the same context, and none is home's. So it is, too, where the artifact does not say
        how contexts are told apart, or says that they cannot be.
    """

    def __init__(self, artifact: Artifact, recognizes: bool) -> None:
        self._artifact = artifact
        known = artifact.recognition if recognizes else None
        self._known = None if known is None or not known.recognizes else known
        self._signatures = None if self._known is None else Signatures.of(artifact.program, self._known)
        self._contexts: Contexts | None
        self._stream: Evidence | None  # what the latest windows were predicted to be of
        self._pending: tuple[Place, Evidence] | None
        self.resume({})

    def memory(self) -> dict[str, Any]:
        """What to go on from, by policy."""
        pending = None
        if self._pending is not None:
            place, evidence = self._pending
            pending = {"place": place.memory(), "evidence": evidence.memory()}
        stream = None if self._stream is None else self._stream.memory()
        contexts = None if self._contexts is None else self._contexts.memory()
        return {"contexts": {"known": contexts, "stream": stream, "pending": pending}}

    def resume(self, memories: Mapping[str, Memory]) -> None:
        """Go on from what :meth:`memory` said; StateError if it did not."""
        self._stream = self._pending = None
        self._contexts = None if self._known is None else Contexts.of(self._known)
        if "contexts" not in memories:
            return
        kept = fields_of(memories["contexts"].value, ("known", "stream", "pending"), "contexts")
        classes = len(self._artifact.classes)
        if kept["stream"] is not None:
            self._stream = Evidence.kept(kept["stream"], classes)
        if self._known is None or kept["known"] is None:  # the session before this one told none apart
            return
        self._contexts = Contexts.of(self._known, kept["known"])
        if kept["pending"] is not None:
            pending = fields_of(kept["pending"], ("place", "evidence"), "pending windows")
            sums = fields_of(pending["place"], ("samples", "total", "squares"), "pending windows")
            place = Place.kept(sums, len(self._known.mean), "pending windows")
            self._pending = place, Evidence.kept(pending["evidence"], classes)

    @property
    def known(self) -> tuple[Context, ...]:
        """The contexts, home first; none where they are not told apart."""
        return () if self._contexts is None else self._contexts.known

    @property
    def mixed(self) -> bool:
        """Whether windows show the classes as the stream does, each of them, as far as can be said."""
        stream = self._stream
        if stream is None:
            return False
        return stream.mixed if stream.several else covers_classes(stream.predicted, BROAD)

    def follow(self, x: NDArray[np.int8], seen: Evaluation) -> int | None:
        """Number of the context that the next window of the stream is of; a new one gets a number.

        None: it shows few classes, and is kept until more of them are seen.

        Parameters
        ----------
        x : int8[N, height, width, channels]
        seen : Evaluation
            Of these samples, by the artifact's own parameters.
        """
        task, classes = self._artifact.meaning.task, len(self._artifact.classes)
        evidence = Evidence.of(task.decode(seen.scores), classes)
        self._stream = stream = evidence.after(self._stream)
        if self._contexts is None:
            return ANYWHERE
        here = self._place(x, seen)
        if evidence.partial(stream):
            if self._pending is not None:
                here, evidence = here.joined(self._pending[0]), evidence.after(self._pending[1])
            if evidence.partial(stream):
                self._pending = here, evidence
                return None
        self._pending = None
        return self._enter(here)

    def enter(self, x: NDArray[np.int8], seen: Evaluation) -> int:
        """The context of samples that labels vouch for, whatever their classes are."""
        return ANYWHERE if self._contexts is None else self._enter(self._place(x, seen))

    def recognize(self, x: NDArray[np.int8], seen: Evaluation) -> Recognized:
        """What samples are taken for; nothing changes. Only where contexts are told apart."""
        assert self._contexts is not None
        return self._contexts.recognize(self._place(x, seen))

    def name(self, number: int, name: str) -> None:
        """Give a context a name; DataError, see `Contexts.named`."""
        if self._contexts is not None:
            self._contexts = self._contexts.named(number, name)

    def _enter(self, here: Place) -> int:
        assert self._contexts is not None
        found = self._contexts.recognize(here).context
        self._contexts = self._contexts.seen(here, found)
        return self._contexts.latest if found is None else found

    def _place(self, x: NDArray[np.int8], seen: Evaluation) -> Place:
        assert self._signatures is not None
        return Place.of(self._signatures(x, seen.observation))
