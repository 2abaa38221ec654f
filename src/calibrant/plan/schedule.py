"""A training step gets its order and its place: fewest bytes in use at once, then one arena for all buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from calibrant.core.errors import PlanError
from calibrant.core.program import Program
from calibrant.core.training import Step, Training
from calibrant.plan import accesses
from calibrant.plan.accesses import Work
from calibrant.plan.arena import ALIGNMENT, aligned
from calibrant.plan.lifetimes import Block
from calibrant.plan.order import lifetimes, live
from calibrant.plan.order import search as search_order
from calibrant.plan.placement import place_blocks
from calibrant.plan.sharing import share
from calibrant.plan.simulation import check_training


def schedule(
    training: Training,
    program: Program,
    *,
    alignment: int = ALIGNMENT,
    search: bool = True,
    in_place: bool = False,
) -> Training:
    """The training with its steps in an order of low peak memory, and an arena offset for every buffer.

    Two steps keep their order where one reads or changes what the other writes, parameters included; everything else
    may move, above all updates to where their gradient exists and masks to where they are first needed. So all numbers
    stay the same, bit for bit. The gate works in place (its output is its input), and, if asked, depthwise gradients.

    Parameters
    ----------
    training : Training
        Steps in a legal order; its offsets, if any, are ignored.
    program : Program
        What the training was made of. Scratch of forward steps is taken from its ops; views keep their place in their
        parent.
    alignment : int
        Bytes, of every offset but views'; at least 4, so that float32 buffers are aligned.
    search : bool
        False leaves the steps in their order and places greedily: fast, and what the search is compared with.
    in_place : bool
        Depthwise gradients of stride 1 overwrite their input where nothing reads it later: see
        :func:`calibrant.plan.sharing.share`. Costs a copy of the input; the numbers stay the same.

    Returns
    -------
    Training
        Checked by :func:`check_training`. The logits stay in place to the end, so that the prediction can be read.

    Raises
    ------
    PlanError
        An alignment that is no power of two from 4, buffers that differ from the program's tensors, or a step that
        reads what no step before it wrote.

    References
    ----------
    Lin et al., "On-Device Training Under 256KB Memory", NeurIPS 2022, section 3.3 (operator reordering).
    """
    require_alignment(alignment)
    shared = share(training, program) if in_place else training
    work = accesses.training(shared, program)
    order = arrange(work, [i for i, step in enumerate(training.steps) if step.kind == "loss"], search=search)
    offsets, scratch, arena_bytes = place_work(work, order, alignment, search=search)
    offsets = [*derived(program, offsets), *offsets[len(program.tensors) : len(training.buffers)]]
    for step in shared.steps:
        if step.attrs.get("in_place", 0):
            offsets[step.output] = offsets[step.inputs[0]]
    steps = [_placed(shared.steps[i], work.tasks[i].scratch, at) for i, at in zip(order, scratch, strict=True)]
    planned = replace(training, steps=tuple(steps), offsets=tuple(offsets), arena_bytes=arena_bytes)
    check_training(planned, program, training)
    return planned


def require_alignment(alignment: int) -> None:
    """PlanError unless it is a power of two from 4, so that 32-bit values are aligned."""
    if alignment < 4 or alignment & (alignment - 1):
        raise PlanError(f"alignment: expected a power of two from 4, got {alignment}")


def derived(program: Program, roots: Sequence[int]) -> list[int]:
    """The offset of every tensor: its own, or that of its first row in its parent."""
    return [
        roots[tensor.parent] + tensor.row * (tensor.nbytes // tensor.height) if tensor.parent >= 0 else roots[i]
        for i, tensor in enumerate(program.tensors)
    ]


def arrange(work: Work, cuts: Sequence[int] = (), *, search: bool = True) -> list[int]:
    """The order that the search finds, unless it is no better than the natural one."""
    natural = list(range(len(work.tasks)))
    if not search or not natural:
        return natural
    found = search_order(work, cuts)
    return found if _peaks(work, found, cuts) < _peaks(work, natural, cuts) else natural


def _peaks(work: Work, order: Sequence[int], cuts: Sequence[int]) -> tuple[int, ...]:
    """The peak of all, then of each part between cuts: what orders are compared by."""
    used = live(work, order)
    ends = sorted(order.index(cut) + 1 for cut in cuts)
    parts = [used[a:b] for a, b in zip([0, *ends], [*ends, len(used)], strict=True)]
    return max(used, default=0), *(max(part, default=0) for part in parts)


def place_work(
    work: Work, order: Sequence[int], alignment: int, *, search: bool = True
) -> tuple[list[int], list[int], int]:
    """Offsets of all roots (0 where unused), scratch offsets by position in `order`, and the arena's bytes."""
    spans = lifetimes(work, order)
    blocks = [Block(work.sizes[root], *span) for root, span in spans.items()]
    needs = [(at, work.tasks[i].scratch) for at, i in enumerate(order) if work.tasks[i].scratch]
    placed = place_blocks([*blocks, *(Block(nbytes, at, at) for at, nbytes in needs)], alignment, search=search)
    offsets, scratch = [0] * len(work.sizes), [0] * len(order)
    for root, offset in zip(spans, placed, strict=False):
        offsets[root] = offset
    for (at, _), offset in zip(needs, placed[len(blocks) :], strict=True):
        scratch[at] = offset
    sizes = [block.nbytes for block in blocks] + [nbytes for _, nbytes in needs]
    end = max((offset + nbytes for offset, nbytes in zip(placed, sizes, strict=True)), default=0)
    return offsets, scratch, aligned(end, alignment)


def _placed(step: Step, nbytes: int, offset: int) -> Step:
    if step.kind != "forward" and not nbytes:
        return step
    return replace(step, attrs={**step.attrs, "scratch_offset": offset, "scratch_bytes": nbytes})
