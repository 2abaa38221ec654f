"""Streaming linear discriminant analysis: the nearest class mean, seen through the spread that all classes share.

No gradient, no order of samples, no replay: sums of features a class, and one sum of their products. The state is whole
numbers; factor and weights are made of them by elementwise float64 operations in a fixed order, so every machine gives
the same answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import fsum
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from calibrant.core.errors import DataError, StateError
from calibrant.core.fixedpoint import divide_round
from calibrant.heads import roster
from calibrant.heads.classifier import Classifier, product
from calibrant.heads.lesson import Lesson
from calibrant.heads.means import SAMPLES_LIMIT, Means
from calibrant.heads.state import State

SHRINKAGE = 0.01
_LEAST = 1e-6  # share: a matrix of less than rank D must still have a factor
_NOISE = 1 / 12  # variance that rounding to whole numbers makes: there is no less


@dataclass(frozen=True)
class SldaSettings:
    """`shrinkage`: share of the shared covariance that is a multiple of the identity with the same trace."""

    shrinkage: float = SHRINKAGE

    def __post_init__(self) -> None:
        if not _LEAST <= self.shrinkage <= 1:
            raise DataError(f"slda: expected shrinkage {_LEAST:g} to 1, got {self.shrinkage}")


@dataclass(frozen=True)
class Slda:
    """The head. `products` int64[D, D] is the sum over samples of x x^T, `spread_of` how many samples it is of.

    References
    ----------
    Hayes and Kanan 2020, "Lifelong machine learning with deep streaming linear discriminant analysis",
    arXiv 1909.01520; covariance relative to the trace, exact sums and class deletion are our own.

    Examples
    --------
    >>> x = np.array([[200, 0], [180, 10], [0, 200], [5, 190]], np.int32)
    >>> head = Slda.new().learn(Lesson(x, np.array([0, 0, 1, 1]), ("walk", "run")))
    >>> head.classifier.predict(x).tolist()
    [0, 0, 1, 1]
    """

    kind: ClassVar[str] = "slda"
    settings: SldaSettings
    means: Means
    products: NDArray[np.int64]
    spread_of: int = 0

    @classmethod
    def new(cls, settings: SldaSettings | None = None) -> Self:
        """One that knows nothing."""
        return cls(settings or SldaSettings(), Means.none(), np.zeros((0, 0), np.int64))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of what it knows."""
        return self.means.classes

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Within classes, float64[D, D], before shrinkage."""
        within = self.products.astype(np.float64)
        for total, count in zip(self.means.sums, self.means.counts, strict=True):
            within = within - np.outer(total, total) / count
        return within / self.spread_of

    @property
    def classifier(self) -> Classifier:
        """What answers: the nearest mean under the inverse of the shrunk covariance."""
        if not self.classes:
            return Classifier.nearest(self.means.values, self.means.sums, self.means.counts)
        share, matrix = self.settings.shrinkage, self.covariance
        mean_variance = max(fsum(np.diag(matrix)) / len(matrix), _NOISE)
        shrunk = (1 - share) * matrix + np.diag(np.full(len(matrix), share * mean_variance))
        directions = solved(cholesky(shrunk), self.means.values.T).T
        return Classifier.nearest(directions, self.means.sums, self.means.counts)

    def learn(self, lesson: Lesson) -> Self:
        """Add samples; DataError if their features are of another length than those before."""
        means, width = self.means.add(lesson), lesson.x.shape[1]
        before = self.products if self.spread_of else np.zeros((width, width), np.int64)
        made = before + product(lesson.x.T, lesson.x)
        return replace(self, means=means, products=made, spread_of=self.spread_of + len(lesson.x))

    def forget(self, name: str) -> Self:
        """Without a class; DataError if it is not known.

        Its mean and count are gone. What its samples said of the spread that all classes share, one sum over all,
        cannot be told apart and stays.
        """
        at = roster.row(self.classes, name)
        total, count = self.means.sums[at], self.means.counts[at]
        around = self.products - divide_round(np.outer(total, total), count)
        return replace(self, means=self.means.without(name), products=around)

    def rename(self, old: str, new: str) -> Self:
        """With another name; DataError if `old` is not known or `new` another class's."""
        return replace(self, means=self.means.renamed(old, new))

    def state(self) -> State:
        """All that it goes on from; of the symmetric products, the lower triangle."""
        triangle = self.products[np.tril_indices(len(self.products))]
        about = {
            "classes": list(self.classes),
            "shrinkage": self.settings.shrinkage,
            "spread_of": self.spread_of,
        }
        return State(self.kind, {**self.means.arrays(), "products": triangle}, about)

    @classmethod
    def resume(cls, state: State) -> Self:
        """The head that said this of itself; StateError if no head did."""
        state.check(cls.kind, (*Means.ARRAYS, "products"))
        means = Means.resume(state)
        shrinkage = state.about.get("shrinkage")
        if not isinstance(shrinkage, float) or not _LEAST <= shrinkage <= 1:
            raise StateError(f"head slda: expected shrinkage {_LEAST:g} to 1, got {shrinkage!r:.80}")
        width = means.sums.shape[1]
        triangle = state.array("products", np.int64, (width * (width + 1) // 2,))
        products = np.zeros((width, width), np.int64)
        products[np.tril_indices(width)] = triangle
        products = products + np.tril(products, -1).T
        most = max(1, SAMPLES_LIMIT * 2**20)
        return cls(SldaSettings(shrinkage), means, products, state.whole("spread_of", int(means.counts.sum()), most))


def cholesky(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower factor of a positive definite matrix [D, D], elementwise operations only: the same bits everywhere, which
    LAPACK does not promise.

    Examples
    --------
    >>> cholesky(np.array([[4.0, 2.0], [2.0, 5.0]])).tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    left, factor = matrix.copy(), np.zeros_like(matrix)
    for k in range(len(matrix)):
        factor[k:, k] = left[k:, k] / np.sqrt(left[k, k])
        left[k + 1 :, k + 1 :] -= np.outer(factor[k + 1 :, k], factor[k + 1 :, k])
    return factor


def solved(factor: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """X [D, K] with L L^T X = right, elementwise like :func:`cholesky`."""
    x = right.copy()
    for k in range(len(factor)):
        x[k] /= factor[k, k]
        x[k + 1 :] -= np.outer(factor[k + 1 :, k], x[k])
    for k in reversed(range(len(factor))):
        x[k] /= factor[k, k]
        x[:k] -= np.outer(factor[k, :k], x[k])
    return x
