"""One job of many: what it gives, or why it gave nothing."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from calibrant.core.errors import CalibrantError
from calibrant.pipeline.float_training import threads

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why a job has no result: one line, and the traceback for those who mend it."""

    reason: str
    trace: str = ""


class Run(Protocol):
    """Does jobs and yields each with its result, or with its failure, as it is finished.

    `work` is importable by name, as are jobs and results. Every job runs on one torch thread, so results do not depend
    on how many run at once.
    """

    def __call__(self, work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[Job, Result | Failure]]:
        """Do the jobs."""


def attempt(work: Callable[[Job], Result], job: Job) -> Result | Failure:
    """Do one job on one torch thread; what it raises becomes a failure.

    Examples
    --------
    >>> attempt(int, "7"), attempt(int, "seven").reason
    (7, "ValueError: invalid literal for int() with base 10: 'seven'")
    """
    try:
        with threads(1):
            return work(job)
    except Exception as error:  # a protocol of hundreds of rows goes on
        name = "" if isinstance(error, CalibrantError) else f"{type(error).__name__}: "
        return Failure(" ".join(f"{name}{error}".split()), traceback.format_exc())
