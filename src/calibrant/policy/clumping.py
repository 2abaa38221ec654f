"""Whether windows stand for their domain. Where classes come one after the other, each shows a few of them and seems to
be of a domain of its own; then what several show together counts, and less than their samples do.

How much each differs from the one before says it: as much as chance has it in a stream that mixes its classes, always
more where it does not. A change of domain is one difference among many, which a median does not see.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median_low
from typing import Any, Self

from calibrant.core.recognition import Recognition
from calibrant.policy.contexts import distance, limit
from calibrant.policy.kept import fields_of, nonsense
from calibrant.policy.place import Place

KEPT = 5  # differences
FEWEST = 2  # differences that say something
_FARTHEST = 2.0**60


@dataclass(frozen=True, eq=False)
class Clumping:
    """The last window's place, and how far each of the latest was from the one before: 1 by chance, see
    `policy.contexts`.

    Examples
    --------
    >>> import numpy as np
    >>> home = Recognition(*np.zeros((2, 2), np.float32), np.eye(2, dtype=np.float32), 1.0, 0.0, 1.0, 0.3, 1.0)
    >>> windows = [Place.of(np.full((20, 2), 500 * (n % 3), np.int16)) for n in range(4)]
    >>> stream = Clumping()
    >>> for window in windows:
    ...     stream = stream.after(window, home)
    >>> stream.known, stream.clumped, stream.independent(20) < 1
    (True, True, True)
    """

    last: Place | None = None
    steps: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, kept: Any, dimensions: int) -> Self:
        """What :meth:`memory` gave, for signatures of so many dimensions; StateError if it did not."""
        fields = fields_of(kept, ("last", "steps"), "clumping")
        last, steps = fields["last"], fields["steps"]
        if not isinstance(steps, list) or len(steps) > KEPT or not all(_is_step(step) for step in steps):
            raise nonsense("clumping field 'steps'", f"at most {KEPT} pairs of numbers", steps)
        place = None
        if last is not None:
            place = Place.kept(fields_of(last, ("samples", "total", "squares"), "clumping"), dimensions, "clumping")
            if not place.samples:
                raise nonsense("clumping field 'last'", "samples", last)
        return cls(place, tuple((far, most) for far, most in steps))

    def memory(self) -> dict[str, Any]:
        """JSON for :meth:`of`."""
        last = None if self.last is None else self.last.memory()
        return {"last": last, "steps": [list(step) for step in self.steps]}

    def after(self, here: Place, recognition: Recognition) -> Self:
        """After another window."""
        if self.last is None:
            return replace(self, last=here)
        far = distance(recognition, here, self.last) / recognition.usual
        most = limit(recognition, min(here.samples, self.last.samples)) / recognition.usual
        return replace(self, last=here, steps=(*self.steps, (far, most))[-KEPT:])

    @property
    def known(self) -> bool:
        """Whether there are windows enough to say anything."""
        return len(self.steps) >= FEWEST

    @property
    def clumped(self) -> bool:
        """Whether windows differ more than chance has it, again and again."""
        return self.known and median_low(far / most for far, most in self.steps) > 1.0

    def independent(self, samples: int) -> float:
        """As how many independent samples so many count: a mean of n varies by so much more than one n-th (L. Kish,
        "Survey Sampling", 1965, section 5.4: the design effect)."""
        return samples / max(1.0, median_low(far for far, _ in self.steps)) if self.clumped else float(samples)


def _is_step(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 2:
        return False
    return all(type(number) is float and 0 <= number < _FARTHEST for number in value) and value[1] > 0
