"""Evolutionary search of the update scheme with the largest contribution under a memory budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from calibrant.autodiff.contribution import Contributions
from calibrant.autodiff.memory import extra_memory
from calibrant.autodiff.schemes import Scheme
from calibrant.core.errors import BudgetError, ModelError
from calibrant.core.program import Program
from calibrant.core.rng import generator

Cost = Callable[[Scheme], int]

PARENTS = 0.25  # share of the population that survives and breeds
MUTATIONS = 2.0  # genes that change in a child, on average
NEIGHBORS = 0.5  # of the changes, the share that moves a gene by one step instead of anywhere
CROSSED = 0.5  # share of children with two parents

Genome = tuple[int, ...]  # biases, then by analyzed layer: 0 for no weights, else 1 + the index of the share


@dataclass(frozen=True)
class Found:
    """The best scheme, its predicted gain and bytes, and how many schemes were measured."""

    scheme: Scheme
    gain: float
    cost: int
    evaluations: int


def search(
    program: Program,
    contributions: Contributions,
    budget: int,
    *,
    cost: Cost | None = None,
    evaluations: int = 4000,
    population: int = 80,
    seed: int = 0,
) -> Found:
    """The scheme of the largest sum of contributions that costs no more than `budget` bytes.

    Candidates within the budget rank by gain, those beyond it after them by cost. A scheme that trains weights
    of a layer trains all biases from there on.

    Parameters
    ----------
    program : Program
    contributions : Contributions
        The search takes weights from its table only.
    budget : int
        Bytes.
    cost : callable, optional
        Bytes that a scheme needs; default is :func:`~calibrant.autodiff.memory.extra_memory`. A planner's peak goes
        here.
    evaluations : int
        How many different schemes are measured at most.
    population : int
    seed : int
        The same seed finds the same scheme.

    Raises
    ------
    BudgetError
        If not even the cheapest scheme that was found is within the budget.
    ModelError
        If the contributions name layers that the program lacks, or a size is too small to breed.

    References
    ----------
    J. Lin et al., "On-Device Training Under 256KB Memory", NeurIPS 2022, section 3.2.
    """
    if population < 4 or evaluations < population:
        raise ModelError(f"search: expected 4 <= population <= evaluations, got {population} and {evaluations}")
    rng, pool = generator(seed, "scheme search"), _Pool(program, contributions, budget, cost)
    people = [pool.least(), *(pool.random(rng) for _ in range(population - 1))]
    stale = 0
    while len(pool.costs) < evaluations and stale < 20:
        measured = len(pool.costs)
        ranked = sorted(dict.fromkeys(people), key=pool.rank)[: max(2, int(PARENTS * population))]
        room = min(population - len(ranked), evaluations - len(pool.costs))
        people = ranked + [pool.child(ranked, rng) for _ in range(room)]
        for person in people:
            pool.rank(person)
        stale = stale + 1 if len(pool.costs) == measured else 0  # nothing new: the population has converged
    return pool.best()


def random_search(
    program: Program,
    contributions: Contributions,
    budget: int,
    *,
    cost: Cost | None = None,
    evaluations: int = 4000,
    seed: int = 0,
) -> Found:
    """As :func:`search`, but every scheme is drawn anew: what the search is compared with."""
    rng, pool = generator(seed, "random search"), _Pool(program, contributions, budget, cost)
    pool.rank(pool.least())
    for _ in range(20 * evaluations):  # schemes that were drawn before are not measured again
        if len(pool.costs) >= evaluations:
            break
        pool.rank(pool.random(rng))
    return pool.best()


class _Pool:
    """Genomes, what they mean and what they cost."""

    def __init__(self, program: Program, contributions: Contributions, budget: int, cost: Cost | None) -> None:
        self.backbone, self.contributions, self.budget = len(program.layers) - 1, contributions, budget
        self.layers = contributions.layers
        if self.layers and not 0 <= self.layers[0] <= self.layers[-1] < self.backbone:
            raise ModelError(f"contributions: expected layers below {self.backbone}, got {list(self.layers)}")
        self.shares = [contributions.shares(layer) for layer in self.layers]
        self.sizes = [self.backbone + 1, *(len(shares) + 1 for shares in self.shares)]
        self.cost = cost if cost is not None else lambda scheme: extra_memory(program, scheme).total
        self.costs: dict[Genome, int] = {}
        self.gains: dict[Genome, float] = {}

    def scheme(self, genome: Genome) -> Scheme:
        chosen = zip(self.layers, self.shares, genome[1:], strict=True)
        return Scheme(genome[0], {layer: shares[gene - 1] for layer, shares, gene in chosen if gene})

    def rank(self, genome: Genome) -> tuple[int, float, int, Genome]:
        """Sorts the better genome first."""
        if genome not in self.costs:
            scheme = self.scheme(genome)
            self.costs[genome], self.gains[genome] = self.cost(scheme), self.contributions.gain(scheme, self.backbone)
        cost = self.costs[genome]
        return (0, -self.gains[genome], cost, genome) if cost <= self.budget else (1, float(cost), 0, genome)

    def best(self) -> Found:
        genome = min(self.costs, key=self.rank)
        if self.costs[genome] > self.budget:
            raise BudgetError(f"scheme search: expected at most {self.budget} bytes, the least found is "
                              f"{self.costs[genome]} ({self.scheme(genome).summary()})")  # fmt: skip
        return Found(self.scheme(genome), self.gains[genome], self.costs[genome], len(self.costs))

    def least(self) -> Genome:
        """The head alone."""
        return (0,) * len(self.sizes)

    def random(self, rng: np.random.Generator) -> Genome:
        """Any number of biases, and weights of any share of the layers."""
        density = rng.random()
        genes = [int(rng.integers(1, size)) if rng.random() < density else 0 for size in self.sizes[1:]]
        return self._reaching([int(rng.integers(self.sizes[0])), *genes])

    def child(self, parents: list[Genome], rng: np.random.Generator) -> Genome:
        genes = list(parents[int(rng.integers(len(parents)))])
        if rng.random() < CROSSED:
            other = parents[int(rng.integers(len(parents)))]
            genes = [a if keep else b for a, b, keep in zip(genes, other, rng.random(len(genes)) < 0.5, strict=True)]
        for i in np.flatnonzero(rng.random(len(genes)) < MUTATIONS / len(genes)):
            if rng.random() < NEIGHBORS:
                genes[i] = int(np.clip(genes[i] + rng.choice((-1, 1)), 0, self.sizes[i] - 1))
            else:
                genes[i] = int(rng.integers(self.sizes[i]))
        return self._reaching(genes)

    def _reaching(self, genes: list[int]) -> Genome:
        """With biases from the deepest layer on whose weights are trained."""
        deepest = next((layer for layer, gene in zip(self.layers, genes[1:], strict=True) if gene), self.backbone)
        return max(genes[0], self.backbone - deepest), *genes[1:]
