"""A program for a microcontroller: reference kernels without scratch, tighter alignment, ops in the cheapest order."""

from __future__ import annotations

from dataclasses import replace

from calibrant.core.program import Program
from calibrant.plan.accesses import inference
from calibrant.plan.check import check
from calibrant.plan.schedule import arrange, derived, place_work, require_alignment


def compact(program: Program, *, alignment: int = 16) -> Program:
    """The same program planned anew, for kernels that need no scratch.

    Parameters
    ----------
    program : Program
        Its offsets are ignored; views keep their place in their parent.
    alignment : int
        Of offsets, in bytes; a power of two from 4, so that raw 32-bit outputs are aligned.

    Returns
    -------
    Program
        Same tensors and layers; checked. Ops move where that lowers the peak, but stripes stay one after another.

    Raises
    ------
    PlanError
        On such an alignment, or a program that breaks an invariant.

    Examples
    --------
    >>> from calibrant.core.program import Op, Tensor
    >>> x, y = Tensor("x", 1, 100, 1, 0.1, 0), Tensor("y", 1, 100, 1, 0.1, 0)
    >>> op = Op("conv2d", (0,), 1, {"scratch_bytes": 328, "scratch_offset": 256})
    >>> compact(Program((x, y), (op,), (), 0, 1, (0, 128), 584)).arena_bytes
    224
    """
    require_alignment(alignment)
    bare = tuple(replace(op, attrs={**op.attrs, "scratch_offset": 0, "scratch_bytes": 0}) for op in program.ops)
    work = inference(replace(program, ops=bare))
    order = arrange(work, search=all(tensor.parent < 0 for tensor in program.tensors))
    roots, _, arena_bytes = place_work(work, order, alignment)
    ops, offsets = tuple(bare[i] for i in order), tuple(derived(program, roots))
    planned = replace(program, ops=ops, offsets=offsets, arena_bytes=arena_bytes)
    check(planned, alignment)
    return planned
