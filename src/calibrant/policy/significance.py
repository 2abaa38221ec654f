"""Is it more than chance? The tests that policies decide by, on whole numbers, so that every machine decides alike.

Two of them ask for the same distance, `STANDARD_ERRORS` above what chance gives on average; the third one sums up the
binomial distribution itself, since a few errors in a window are too few for a bell curve.
"""

from __future__ import annotations

from collections.abc import Sequence

STANDARD_ERRORS = 2
TAIL = 2, 25  # of the binomial distribution: less probable than 8 %
_RATE_ONE = 1 << 16


def improbable(errors: int, labels: int, rate: float) -> bool:
    """Whether chance gives `errors` or more of `labels` at an error rate with a probability below 8 %.

    Exact: the binomial distribution in whole numbers.

    Examples
    --------
    >>> improbable(1, 19, 0.005), improbable(2, 19, 0.005), improbable(5, 100, 0.05)
    (False, True, False)
    """
    wrong = min(max(round(rate * _RATE_ONE), 0), _RATE_ONE)
    right = _RATE_ONE - wrong
    if errors * _RATE_ONE <= labels * wrong:
        return False
    total: int = _RATE_ONE**labels
    term: int = right**labels
    rarer = total
    for k in range(errors):
        rarer -= term
        if rarer * TAIL[1] < total * TAIL[0]:
            return True
        term = term * (labels - k) * wrong // ((k + 1) * right)
    return False


def ahead(more: int, less: int) -> bool:
    """Whether one of two is right more often: of the samples that only one gets right, `more` to `less`.

    McNemar, "Note on the sampling error of the difference between correlated proportions or percentages", 1947.

    Examples
    --------
    >>> ahead(9, 1), ahead(5, 3)
    (True, False)
    """
    return more > less and (more - less) ** 2 > STANDARD_ERRORS**2 * (more + less)


def risen(changes: Sequence[int]) -> bool:
    """Whether paired values rose on average, by Student's t; the changes are of one unit, whatever it is.

    Examples
    --------
    >>> risen([2, 3, 1, 2]), risen([2, -3, 1, 2]), risen([])
    (True, False, False)
    """
    count, total = len(changes), sum(changes)
    scatter = count * sum(change * change for change in changes) - total * total  # count^2 times the variance
    return total > 0 and total * total * (count - 1) > STANDARD_ERRORS**2 * scatter
