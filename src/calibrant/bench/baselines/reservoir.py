"""A memory of fixed size over a stream of unknown length: Vitter's algorithm R (ACM TOMS 11(1), 1985)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from calibrant.core.errors import DataError


class Reservoir:
    """Keeps rows of parallel tensors; every row of the stream so far is kept with the same probability.

    Parameters
    ----------
    *fields : Tensor [size, ...]
        The first rows kept (samples, labels, and what else belongs to them), at least one.
    seen : int
        Rows of the stream that these stand for, themselves included.
    rng : numpy Generator
    capacity : int, optional
        Rows that it may hold; as many as there are without.

    Raises
    ------
    DataError
        If there is no row, or fewer than `size` are said to be seen.

    Examples
    --------
    >>> import torch
    >>> memory = Reservoir(torch.arange(2), seen=2, rng=np.random.default_rng(0))
    >>> memory.add(torch.arange(2, 50))
    >>> len(memory), memory.seen, sorted(memory.fields[0].tolist())
    (2, 50, [43, 46])
    """

    def __init__(self, *fields: Tensor, seen: int, rng: np.random.Generator, capacity: int | None = None) -> None:
        size = len(fields[0])
        if size == 0 or seen < size:
            raise DataError(f"memory: expected at least one sample, drawn from as many or more, got {size} of {seen}")
        self.fields = [field.clone() for field in fields]
        self.seen, self._rng, self.capacity = seen, rng, max(size, capacity or size)

    def __len__(self) -> int:
        return len(self.fields[0])

    def add(self, *rows: Tensor) -> None:
        """Offer rows of the stream, in order, one tensor a field."""
        if room := min(self.capacity - len(self), len(rows[0])):
            self.fields = [torch.cat([field, row[:room]]) for field, row in zip(self.fields, rows, strict=True)]
            self.seen += room
            rows = tuple(row[room:] for row in rows)
        count = len(rows[0])
        for i, place in enumerate(self._rng.integers(0, self.seen + 1 + np.arange(count))):
            if place < len(self):
                for field, row in zip(self.fields, rows, strict=True):
                    field[place] = row[i]
        self.seen += count
