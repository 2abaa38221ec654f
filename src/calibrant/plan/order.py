"""The order of steps with the least memory in use at once: best-first search over sets of steps that are done.

What is live after a set of steps does not depend on their order. So the search keeps one entry a set: the order that
reached it with the lowest peak (a shortest path where a path costs its highest point), exact until it runs out of
`LIMIT`. Two rules cut it down without losing the best order: a step that needs no new memory runs as soon as it can,
and so does one that raises neither the peak nor what stays live.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import accumulate

from calibrant.plan.accesses import Work

LIMIT = 2_000  # sets that one search may expand; ordinary networks need a few hundred


@dataclass(frozen=True)
class _State:
    """Steps done and steps that could be next (one bit each), bytes live, the peak on the way, and that way."""

    done: int
    ready: int
    live: int
    peak: int
    last: int = -1
    before: _State | None = None

    def path(self) -> list[int]:
        order: list[int] = []
        state: _State | None = self
        while state is not None and state.last >= 0:
            order.append(state.last)
            state = state.before
        return order[::-1]


def predecessors(work: Work) -> list[int]:
    """For every task the set, one bit each, of earlier tasks that it must stay behind.

    Two tasks keep their order if they touch the same rows and one of them writes: so every value that any task reads is
    the one that it read in the natural order, and sums are added in the same order.
    """
    before = []
    for j, task in enumerate(work.tasks):
        bits = 0
        for i, other in enumerate(work.tasks[:j]):
            if not task.roots & other.roots:
                continue
            clash = any(a.meets(b) for a in task.writes for b in (*other.reads, *other.writes))
            if clash or any(a.meets(b) for a in other.writes for b in task.reads):
                bits |= 1 << i
        before.append(bits)
    return before


def search(work: Work, cuts: Sequence[int] = (), limit: int = LIMIT) -> list[int]:
    """A legal order of the tasks with a low peak: optimal up to each cut, deterministic.

    Parameters
    ----------
    work : Work
    cuts : tasks, in an order that is legal
        The peak up to a cut is minimized first, then, from there, the peak after it: a high forward pass does not
        excuse a high backward pass.
    limit : int
        Sets to expand before the rest is chosen greedily.

    Returns
    -------
    list of int
        Every index of `work.tasks` once.

    Examples
    --------
    >>> from calibrant.plan.accesses import Area, Task
    >>> x, a, b, c, y = (Area(i, 0, 1) for i in range(5))
    >>> tasks = (Task((x,), (a,)), Task((x,), (b,)), Task((a,), (c,)), Task((b, c), (y,)))
    >>> search(Work(tasks, (8, 100, 50, 1, 1), source=0, kept=4))  # b waits until a has become c
    [0, 2, 1, 3]
    """
    searcher = _Searcher(work)
    state = searcher.start()
    order: list[int] = []
    everything = (1 << len(work.tasks)) - 1
    for goal in (*(1 << cut for cut in cuts), everything):
        state = searcher.reach(_State(state.done, state.ready, state.live, 0), goal, limit)
        order += state.path()
    return order


class _Searcher:
    def __init__(self, work: Work) -> None:
        self.work = work
        self.before = predecessors(work)
        self.after = [[j for j, bits in enumerate(self.before) if bits >> i & 1] for i in range(len(work.tasks))]
        self.users: dict[int, int] = {}
        for i, task in enumerate(work.tasks):
            for root in task.roots:
                self.users[root] = self.users.get(root, 0) | 1 << i
        self.roots = [sorted(r for r in task.roots if work.sizes[r]) for task in work.tasks]

    def start(self) -> _State:
        """Nothing done."""
        ready = sum(1 << i for i, bits in enumerate(self.before) if not bits)
        return _State(0, ready, self.work.sizes[self.work.source], 0)

    def reach(self, start: _State, goal: int, limit: int) -> _State:
        """The state with the lowest peak in which all tasks of `goal` are done."""
        heap: list[tuple[int, int, int, int, _State]] = []
        seen: set[int] = set()
        serial = 0
        state = self._settled(start)
        while state.done & goal != goal:
            if state.done not in seen:
                seen.add(state.done)
                for i in _bits(state.ready):
                    serial += 1
                    after = self._settled(self._ran(state, i))
                    if after.done not in seen:
                        heappush(heap, (after.peak, -after.done.bit_count(), after.live, serial, after))
            if len(seen) >= limit:
                return self._greedy(min(heap, key=lambda entry: (entry[1], *entry))[-1], goal)
            state = heappop(heap)[-1]
        return state

    def _greedy(self, state: _State, goal: int) -> _State:
        while state.done & goal != goal:
            state = min(
                (self._settled(self._ran(state, i)) for i in _bits(state.ready)), key=lambda s: (s.peak, s.live)
            )
        return state

    def _ran(self, state: _State, i: int) -> _State:
        done = state.done | 1 << i
        fresh = freed = 0
        for root in self.roots[i]:
            if not state.done & self.users[root] and root != self.work.source:
                fresh += self.work.sizes[root]
            if self.users[root] & ~done == 0 and root != self.work.kept:
                freed += self.work.sizes[root]
        ready = state.ready & ~(1 << i)
        for j in self.after[i]:
            if not self.before[j] & ~done:
                ready |= 1 << j
        top = state.live + fresh
        return _State(done, ready, top - freed, max(state.peak, top + self.work.tasks[i].scratch), i, state)

    def _settled(self, state: _State) -> _State:
        """The state after all tasks that cost nothing."""
        again = True
        while again:
            again = False
            for i in _bits(state.ready):
                after = self._ran(state, i)
                if after.live <= state.live and after.peak <= max(state.peak, state.live):
                    state, again = after, True
                    break
        return state


def _bits(value: int) -> Iterator[int]:
    """Positions of the ones, lowest first."""
    while value:
        yield (value & -value).bit_length() - 1
        value &= value - 1


def live(work: Work, order: Sequence[int]) -> list[int]:
    """Bytes in use during each task of an order, its scratch included.

    Examples
    --------
    >>> from calibrant.plan.accesses import Area, Task
    >>> x, y = Area(0, 0, 1), Area(1, 0, 1)
    >>> live(Work((Task((x,), (y,), scratch=5),), (8, 2), source=0, kept=1), [0])
    [15]
    """
    change = [0] * (len(order) + 1)
    for root, (first, last) in lifetimes(work, order).items():
        change[first] += work.sizes[root]
        change[last + 1] -= work.sizes[root]
    return [held + work.tasks[i].scratch for held, i in zip(accumulate(change), order, strict=False)]


def lifetimes(work: Work, order: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Of every root with bytes that is used: the first and the last position in `order` at which it is."""
    spans = {work.source: (0, 0)}
    for at, i in enumerate(order):
        for root in work.tasks[i].roots:
            spans[root] = spans.get(root, (at, at))[0], at
    spans[work.kept] = spans.get(work.kept, (0, 0))[0], max(len(order) - 1, 0)
    return {root: span for root, span in sorted(spans.items()) if work.sizes[root]}
