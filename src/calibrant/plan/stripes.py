"""The first ops of a program in horizontal stripes: at high resolution, a few rows at a time.

Every stripe of the stage's output is computed from the rows of the input that it needs; rows that two stripes need are
computed twice (the halo). Channels-last, rows are contiguous, so a stripe is an ordinary op on tensors of fewer rows.
The kernels take rows outside of a tensor for padding; so only a stripe at the map's border keeps `pad_top`, and inside,
the halo rows stand in for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from calibrant.core.errors import PlanError
from calibrant.core.program import Op, Program, Tensor, View
from calibrant.ops import KINDS
from calibrant.plan.accesses import inference
from calibrant.plan.compact import compact
from calibrant.plan.order import live
from calibrant.plan.workload import program_macs

WINDOWED = tuple(name for name, kind in KINDS.items() if kind.rows == "window")
POINTWISE = tuple(name for name, kind in KINDS.items() if kind.rows == "same")
MOST = 16  # stripes that the search tries

Rows = tuple[int, int]  # first, and one behind the last


@dataclass(frozen=True)
class Striping:
    """A choice: the first `ops` ops in `count` stripes. `peak_bytes` live, without scratch; `extra_macs` in halos."""

    ops: int
    count: int
    peak_bytes: int
    extra_macs: int


def split(program: Program, ops: int, count: int, *, alignment: int = 16) -> Program:
    """The program with its first `ops` ops run in `count` stripes, planned by :func:`compact`; same outputs.

    Parameters
    ----------
    program : Program
        Without views.
    ops : int
        Ops of the stage. What they compute is read by them alone, but for the last one's output.
    count : int
        Stripes, of equal height or one row less, at most the rows of that output; 0 ops in 1 stripe is no stage.
    alignment : int
        Of offsets, in bytes.

    Returns
    -------
    Program
        Several ops share a layer. The stage's inner tensors are replaced by those of stripes, so ids change.

    Raises
    ------
    PlanError
        A stage that cannot be striped: an op that mixes all rows, an inner tensor that is read later, too many stripes.

    References
    ----------
    Lin et al., "MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep Learning", NeurIPS 2021, section 3.
    """
    return compact(program if (ops, count) == (0, 1) else _split(program, ops, count), alignment=alignment)


def choose(program: Program, *, limit: int | None = None, frozen: int | None = None) -> Striping:
    """The stage and stripes of the lowest live peak, or, within a limit, of the fewest extra multiply-accumulates.

    Parameters
    ----------
    program : Program
        Without views.
    limit : int, optional
        Bytes. Among what stays within it, the least extra work wins; nothing does: the lowest peak.
    frozen : int, optional
        First ops that may be striped; of a training, those that no gradient reaches. Default all.

    Returns
    -------
    Striping
        `ops` 0 and `count` 1 where no stripes are better.
    """
    plain = program_macs(program)
    best = Striping(0, 1, _peak(program), 0)
    for candidate in _candidates(program, len(program.ops) if frozen is None else frozen):
        striped = _split(program, *candidate)
        found = Striping(*candidate, _peak(striped), program_macs(striped) - plain)
        best = min(best, found, key=lambda s: _cost(s, limit))
    return best


def _cost(striping: Striping, limit: int | None) -> tuple[int, ...]:
    over = striping.peak_bytes if limit is None or striping.peak_bytes > limit else 0
    return over, striping.extra_macs, striping.peak_bytes, striping.count


def _candidates(program: Program, frozen: int) -> Iterator[tuple[int, int]]:
    for ops in range(1, frozen + 1):
        if program.ops[ops - 1].kind not in (*WINDOWED, *POINTWISE):
            return
        if _leak(program, ops) is None:
            rows = program.tensors[program.ops[ops - 1].output].height
            yield from ((ops, count) for count in range(2, min(rows, MOST) + 1))


def _peak(program: Program) -> int:
    bare = replace(program, ops=tuple(replace(op, attrs={**op.attrs, "scratch_bytes": 0}) for op in program.ops))
    return max(live(inference(bare), range(len(bare.ops))))


def _leak(program: Program, ops: int) -> int | None:
    """An inner tensor of the stage that something after it reads, if there is one."""
    inner = {op.output for op in program.ops[: ops - 1]}
    later = {i for op in program.ops[ops:] for i in op.inputs} | {program.output}
    return min(inner & later, default=None)


def _split(program: Program, ops: int, count: int) -> Program:
    """The striped program, without a plan."""
    if any(tensor.parent >= 0 for tensor in program.tensors):
        raise PlanError("stripes: expected a program without views")
    if not 1 <= ops <= len(program.ops):
        raise PlanError(f"stripes: expected 1 to {len(program.ops)} ops, got {ops}")
    stage, output = program.ops[:ops], program.ops[ops - 1].output
    for at, op in enumerate(stage):
        if op.kind not in (*WINDOWED, *POINTWISE):
            raise PlanError(f"stripes: op {at}: expected one of {', '.join((*WINDOWED, *POINTWISE))}, got {op.kind}")
    leak = _leak(program, ops)
    if leak is not None:
        raise PlanError(f"stripes: tensor '{program.tensors[leak].name}' is read after the first {ops} ops")
    height = program.tensors[output].height
    if not 1 <= count <= height:
        raise PlanError(f"stripes: expected 1 to {height}, one a row of '{program.tensors[output].name}', got {count}")
    inner = {op.output for op in stage} - {output}
    kept = [i for i in range(len(program.tensors)) if i not in inner]
    ids = {old: new for new, old in enumerate(kept)}
    builder = _Builder(program, [program.tensors[i] for i in kept], ids)
    for s in range(count):
        builder.stripe(stage, output, (height * s // count, height * (s + 1) // count))
    rest = [replace(op, inputs=tuple(ids[i] for i in op.inputs), output=ids[op.output]) for op in program.ops[ops:]]
    return Program(tuple(builder.tensors), (*builder.ops, *rest), program.layers, ids[program.input],
                   ids[program.output], (), 0)  # fmt: skip


class _Builder:
    """Collects the tensors and ops of stripes; `ids` maps tensors that stay whole to their new ids."""

    def __init__(self, program: Program, tensors: list[Tensor], ids: dict[int, int]) -> None:
        self.program, self.tensors, self.ids = program, tensors, ids
        self.ops: list[Op] = []

    def stripe(self, stage: tuple[Op, ...], output: int, rows: Rows) -> None:
        """The ops that compute `rows` of `output`."""
        needed = {output: rows}
        for op in reversed(stage):
            for i in op.inputs:
                read = _read(op, needed[op.output], self.program.tensors[i])
                have = needed.get(i, read)
                needed[i] = min(have[0], read[0]), max(have[1], read[1])
        here: dict[int, int] = {}
        for op in stage:
            made = needed[op.output]
            inputs = tuple(self._rows(i, _read(op, made, self.program.tensors[i]), needed[i], here) for i in op.inputs)
            attrs = dict(op.attrs)
            if op.kind in WINDOWED:
                attrs["pad_top"] = max(0, op.attrs["pad_top"] - made[0] * op.attrs["stride_h"])
            if op.output == output:
                target = self._rows(output, made, (0, 0), here)
            else:
                tensor = self.program.tensors[op.output]
                here[op.output] = target = self._add(
                    replace(tensor, name=f"{tensor.name}[{made[0]}:{made[1]}]", height=made[1] - made[0])
                )
            self.ops.append(Op(op.kind, inputs, target, attrs, op.layer))

    def _rows(self, i: int, rows: Rows, have: Rows, here: dict[int, int]) -> int:
        """The id of those rows of tensor `i`, of which the stripe holds rows `have` if it is an inner one."""
        tensor = self.program.tensors[i]
        parent, first = (here[i], have[0]) if i in here else (self.ids[i], 0)
        if rows == (first, first + self.tensors[parent].height):
            return parent
        name = f"{tensor.name}[{rows[0]}:{rows[1]}]"
        return self._add(View(name, rows[1] - rows[0], tensor.width, tensor.channels, tensor.scale, tensor.zero_point,
                              tensor.bits, parent, rows[0] - first))  # fmt: skip

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1


def _read(op: Op, rows: Rows, source: Tensor) -> Rows:
    """The rows of `source` that `op` reads for its output rows; padding left out."""
    if op.kind in POINTWISE:
        return rows
    a = op.attrs
    first = rows[0] * a["stride_h"] - a["pad_top"]
    last = (rows[1] - 1) * a["stride_h"] - a["pad_top"] + (a["kernel_h"] - 1) * a["dilation_h"]
    found = max(first, 0), min(last + 1, source.height)
    if found[0] >= found[1]:
        raise PlanError(f"stripes: {op.kind} into rows {rows[0]} to {rows[1]} reads padding alone; use fewer stripes")
    return found
