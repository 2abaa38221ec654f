"""When each piece of arena memory is in use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calibrant.core.program import Op, Tensor


@dataclass(frozen=True)
class Block:
    """Bytes in use from op `first` to op `last`, both included."""

    nbytes: int
    first: int
    last: int

    def meets(self, other: Block) -> bool:
        """Whether both are in use at some op."""
        return self.first <= other.last and other.first <= self.last


def tensor_blocks(tensors: Sequence[Tensor], ops: Sequence[Op], source: int, output: int) -> list[Block]:
    """One block per tensor: from the op that writes it (the start, for the input) to its last reader.

    The output lasts to the end.

    Examples
    --------
    >>> x, y = Tensor("x", 1, 4, 1, 1.0, 0), Tensor("y", 1, 4, 1, 1.0, 0)
    >>> tensor_blocks([x, y], [Op("rescale", (0,), 1, {})], 0, 1)
    [Block(nbytes=4, first=0, last=0), Block(nbytes=4, first=0, last=0)]
    """
    first, last = {source: 0}, {source: 0}
    for at, op in enumerate(ops):
        first[op.output] = last[op.output] = at
        last |= dict.fromkeys(op.inputs, at)
    last[output] = max(len(ops) - 1, 0)
    return [Block(tensor.nbytes, first[i], last[i]) for i, tensor in enumerate(tensors)]


def scratch_blocks(ops: Sequence[Op]) -> list[Block]:
    """One block per op: its scratch, in use during the op alone; of no bytes where it needs none."""
    return [Block(op.attrs["scratch_bytes"], at, at) for at, op in enumerate(ops)]
