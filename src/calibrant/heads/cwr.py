"""CWR*: one linear layer learns class after class; what it knew is averaged with what it learns, by how often it was
seen.

Every lesson trains rows that start from what is known of its classes, at zero for new ones, and beside them zeros for
all other classes. The trained rows, less one mean of all of them, are then averaged into what is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError, StateError, check_known
from calibrant.core.fixedpoint import divide_round, round_shift
from calibrant.heads import roster
from calibrant.heads.classifier import Classifier
from calibrant.heads.counts import COUNT_LIMIT, COUNT_ONE, WANDER_ONE, effective, past_share
from calibrant.heads.grid import EXPONENTS, WIDEST, Grid
from calibrant.heads.lesson import Lesson
from calibrant.heads.state import State
from calibrant.heads.training import BATCH_LIMIT, ROUNDINGS, Descent, Weights, unit_of

_LESSONS = 2**31

# What a setting may be, least and most.
RANGES: Mapping[str, tuple[float, float]] = {
    "forward_bits": (2, 8),
    "backward_bits": (2, WIDEST),
    "rate": (1e-6, 1e3),
    "epochs": (1, 10**4),
    "batch": (1, BATCH_LIMIT),
    "wander": (0, WANDER_ONE),
    "cap": (1, COUNT_LIMIT // COUNT_ONE),
    "decay": (0, 1),
    "seed": (0, 2**63 - 1),
}


@dataclass(frozen=True)
class CwrSettings:
    """How the head learns.

    `forward_bits` q_f of weights where they answer, `backward_bits` q_b of weights and errors where they learn,
    `rounding` of updates: 'nearest', 'stochastic', or 'widen', to the nearest on a grid that widens where too much is
    lost. `rate` for features of mean squared length about 1, `epochs` over a lesson in batches of `batch`. `wander`,
    Q16, by which samples of one stretch count for fewer; a class counts as `cap` samples at most, and all earlier ones
    by `decay` less with every lesson, so that what is new keeps a say. Defaults of these three are as published.
    """

    forward_bits: int = 8
    backward_bits: int = 16
    rounding: str = "nearest"
    rate: float = 2.0
    epochs: int = 4
    batch: int = 16
    wander: int = 0
    cap: int = COUNT_LIMIT // COUNT_ONE
    decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_known("rounding", self.rounding, ROUNDINGS)
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise DataError(f"cwr: expected {name} {least:g} to {most:g}, got {value}")
        if self.backward_bits < self.forward_bits:
            raise DataError(f"cwr: expected backward_bits of at least {self.forward_bits}, got {self.backward_bits}")


@dataclass(frozen=True)
class Cwr:
    """The head; :meth:`learn` gives another one and leaves this as it is.

    `kept` int64[K, D] on `grid`; `past` int64[K], how much was seen of each class, in 1/256 of a sample; `unit` of
    features, of the first lesson. `doublings` counts how often weights reached the grid's end, `lost` is the share of
    steps that the last lesson's rounding lost.

    References
    ----------
    Lomonaco, Maltoni, Pellegrini 2019, "Rehearsal-free continual learning over small non-i.i.d. batches",
    arXiv 1907.03799, CWR*; class growth, deletion, counts of resembling samples and the arithmetic are our own.

    Examples
    --------
    >>> x = np.array([[200, 0], [180, 10], [0, 200], [5, 190]], np.int32)
    >>> head = Cwr.new(CwrSettings()).learn(Lesson(x, np.array([0, 0, 1, 1]), ("walk", "run")))
    >>> head.classifier.predict(x).tolist()
    [0, 0, 1, 1]
    """

    kind: ClassVar[str] = "cwr"
    settings: CwrSettings
    classes: tuple[str, ...]
    kept: NDArray[np.int64]
    past: NDArray[np.int64]
    grid: Grid
    unit: int = 0
    lessons: int = 0
    doublings: int = 0
    lost: float = field(default=0.0)

    @classmethod
    def new(cls, settings: CwrSettings | None = None) -> Self:
        """One that knows nothing."""
        how = settings or CwrSettings()
        return cls(how, (), np.zeros((0, 0), np.int64), np.zeros(0, np.int64), Grid(how.backward_bits))

    @property
    def classifier(self) -> Classifier:
        """What answers: the kept weights at `forward_bits`; no bias, as published."""
        weights = self.grid.forward(self.kept, self.settings.forward_bits)
        return Classifier(weights, np.zeros(len(weights), np.int64))

    def learn(self, lesson: Lesson) -> Self:
        """One experience: train on its samples, average into what is kept.

        Raises
        ------
        DataError
            Features are of another length than those before.
        """
        how, width = self.settings, lesson.x.shape[1]
        if self.lessons and width != self.kept.shape[1]:
            raise DataError(f"lesson: expected features of length {self.kept.shape[1]}, got {width}")
        classes = roster.grown(self.classes, tuple(lesson.names[i] for i in lesson.present))
        places = np.array([classes.index(name) if name in classes else -1 for name in lesson.names], np.int64)
        y = places[lesson.y]
        kept = roster.padded(self.kept, len(classes)) if self.lessons else np.zeros((len(classes), width), np.int64)
        current = effective(y, len(classes), lesson.blocks, how.wander)
        seen = current > 0
        unit = self.unit if self.lessons else unit_of(lesson.x)
        start = Weights(self.grid, np.where(seen[:, None], kept, 0), kept)
        descent = Descent(how.forward_bits, unit, how.rate, how.epochs, how.batch, how.rounding)
        end = descent.run(start, lesson.x, y, how.seed, f"cwr {self.lessons}")
        past = roster.padded(self.past, len(classes))
        past = past - round_shift(past * round(how.decay * 2**15), 15)
        return replace(
            self,
            classes=classes,
            kept=consolidated(end.kept, end.fresh, past, current, end.grid.limit),
            past=np.clip(past + current, 1, how.cap * COUNT_ONE),
            grid=end.grid,
            unit=unit,
            lessons=self.lessons + 1,
            doublings=self.doublings + end.doublings,
            lost=end.zone.share,
        )

    def forget(self, name: str) -> Self:
        """Without a class; nothing else changes. DataError if it is not known."""
        at = roster.row(self.classes, name)
        classes = roster.without(self.classes, name)
        return replace(self, classes=classes, kept=np.delete(self.kept, at, 0), past=np.delete(self.past, at))

    def rename(self, old: str, new: str) -> Self:
        """With another name; DataError if `old` is not known or `new` another class's."""
        return replace(self, classes=roster.renamed(self.classes, old, new))

    def state(self) -> State:
        """All that it goes on from."""
        about = {
            "classes": list(self.classes),
            "settings": asdict(self.settings),
            "bits": self.grid.bits,
            "exponent": self.grid.exponent,
            **{name: getattr(self, name) for name in ("unit", "lessons", "doublings", "lost")},
        }
        return State(self.kind, {"kept": self.kept.astype(_type(self.grid)), "past": self.past}, about)

    @classmethod
    def resume(cls, state: State) -> Self:
        """The head that said this of itself.

        Raises
        ------
        StateError
            No head said so.
        """
        state.check(cls.kind, ("kept", "past"))
        given = state.about.get("settings")
        if not isinstance(given, dict) or set(given) != {f.name for f in fields(CwrSettings)}:
            raise StateError(f"head cwr: expected settings of CwrSettings, got {given!r:.80}")
        try:
            settings = CwrSettings(**given)
        except (DataError, TypeError) as error:
            raise StateError(f"head cwr: {error} (state is damaged)") from None
        classes, lessons = state.classes(), state.whole("lessons", 0, _LESSONS)
        grid = Grid(state.whole("bits", settings.backward_bits, WIDEST), state.whole("exponent", *EXPONENTS))
        kept = state.array("kept", _type(grid), (len(classes), -1)).astype(np.int64)
        past = state.array("past", np.int64, (len(classes),))
        if past.size and not 1 <= int(past.min()) <= int(past.max()) <= COUNT_LIMIT:
            raise StateError(f"head cwr: expected counts 1 to {COUNT_LIMIT}, got {past.tolist()!r:.80}")
        if kept.size and int(np.abs(kept).max()) > grid.limit:
            raise StateError(f"head cwr: expected weights within {grid.limit}, got {int(np.abs(kept).max())}")
        lost = state.about.get("lost")
        if not isinstance(lost, float) or not 0 <= lost <= 1:
            raise StateError(f"head cwr: expected lost 0 to 1, got {lost!r:.80}")
        whole: dict[str, Any] = {"unit": state.whole("unit", 0, 31), "doublings": state.whole("doublings", 0, _LESSONS)}
        return cls(settings, classes, kept, past, grid, lessons=lessons, lost=lost, **whole)


def consolidated(
    kept: NDArray[np.int64],
    fresh: NDArray[np.int64],
    past: NDArray[np.int64],
    current: NDArray[np.int64],
    limit: int,
) -> NDArray[np.int64]:
    """What is kept after a lesson: for each class seen in it, cw <- (cw wp + tw - mu) / (wp + 1), wp = sqrt(past /
    current), mu the mean of all trained weights of those classes; others as they were.

    Source: CWR*, arXiv 1907.03799, section 3.1.

    Parameters
    ----------
    kept, fresh : int64[K, D]
        cw and tw, on one grid.
    past, current : int64[K]
        In the same unit.
    limit : int
        Where the grid ends; tw - mu saturates there.

    Examples
    --------
    >>> one = 4096
    >>> cw, tw = np.array([[0, 0], [-2, 0], [0, 0]]) * one, np.array([[9, 9], [-1, 2], [3, 4]]) * one
    >>> (consolidated(cw, tw, np.array([100, 100, 0]), np.array([0, 25, 100]), 2**15 - 1) / one).round(3).tolist()
    [[0.0, 0.0], [-2.333, 0.0], [1.0, 2.0]]
    """
    seen = np.flatnonzero(current > 0)
    trained = fresh[seen]
    mean = divide_round(trained.sum(), trained.size)
    new = np.clip(trained - mean, -limit, limit)
    alpha = np.array([past_share(int(past[c]), int(current[c])) for c in seen], np.int64)[:, None]
    made = kept.copy()
    made[seen] = new + round_shift(alpha * (kept[seen] - new), 15)
    return made


def _type(grid: Grid) -> type[np.signedinteger[Any]]:
    """The narrowest type that holds a grid's numbers."""
    return next(t for bits, t in ((8, np.int8), (16, np.int16), (32, np.int32)) if grid.bits <= bits)
