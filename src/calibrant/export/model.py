"""C text of a model: its tables, its arena, and inference as straight-line calls of kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calibrant import _engine
from calibrant.artifact import Artifact
from calibrant.core.program import Op, Program
from calibrant.export import records, signs, sources, tables
from calibrant.export.report import FLASH, RAM, Block, aligned

_NOT_FIELDS = frozenset({"scratch_offset", "scratch_bytes"})


@dataclass
class Text:
    """C text in the making: types, definitions in order, and the blocks of memory that they take."""

    types: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    declarations: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def constant(self, name: str, values: NDArray[np.generic], what: str) -> None:
        """A table in flash."""
        definition = tables.array(f"calibrant_{name}", values)
        self._define(definition)
        self.blocks.append(Block(f"calibrant_{name}", "constants", what, values.nbytes, FLASH))

    def records(self, kind: str, name: str, rows: Iterable[str], pointer_bytes: int) -> None:
        """A table of records in flash."""
        held = list(rows)
        self._define(tables.records(kind, f"calibrant_{name}", held))
        note = f"records: {name.replace('_', ' ')}"
        row_bytes = records.record_bytes(kind, pointer_bytes)
        self.blocks.append(Block(f"calibrant_{name}", "constants", note, len(held) * row_bytes, FLASH))

    def record(self, ctype: str, name: str, nbytes: int, kind: str, what: str) -> None:
        """A record in RAM; its type is aligned to a block."""
        self.parts.append(f"{ctype} calibrant_{name};\n")
        self.declarations.append(f"extern {ctype} calibrant_{name};\n")
        self.blocks.append(Block(f"calibrant_{name}", kind, what, aligned(nbytes), RAM))

    def memory(self, ctype: str, name: str, count: int, value_bytes: int, kind: str, what: str) -> None:
        """A block of RAM, its length rounded up so that no gap follows it."""
        nbytes = aligned(count * value_bytes)
        declared = f"{ctype} calibrant_{name}[{nbytes // value_bytes}];\n"
        self.parts.append(f"_Alignas(16) {declared}")
        self.declarations.append(f"extern {declared}")
        self.blocks.append(Block(f"calibrant_{name}", kind, what, nbytes, RAM))

    def _define(self, definition: str) -> None:
        self.parts.append(definition)
        self.declarations.append(f"extern {definition.partition(' = ')[0]};\n")


def score_scale(artifact: Artifact) -> NDArray[np.float32]:
    """What turns raw outputs into class scores, float32[K]; see `core.logits`."""
    program = artifact.program
    tensor = program.tensors[program.output]
    if tensor.bits == 8:
        return np.full(tensor.channels, tensor.scale, np.float32)
    last = next(op for op in program.ops if op.output == program.output)
    weight_scale = artifact.constants.scale[program.layers[last.layer].channel_slice]
    scale: NDArray[np.float32] = np.float32(program.tensors[last.inputs[0]].scale) * weight_scale.astype(np.float32)
    return scale


def kernels(program: Program, variant: str) -> tuple[sources.Kernel, ...]:
    """Kernels that inference calls, in order of first use, in the variant where it has them."""
    return tuple(dict.fromkeys(sources.kernel(program, op, variant) for op in program.ops))


def define_parameters(text: Text, artifact: Artifact) -> None:
    """Weights and biases as the artifact has them, in flash; those of binary layers are one bit each."""
    program, constants = artifact.program, artifact.constants
    codes = [constants.weights[layer.weight_slice] for layer in program.layers if not layer.binary]
    if codes:
        text.constant("weights", np.concatenate(codes), "weights")
    packed = signs.table(program, constants)
    if packed.size:
        text.constant("signs", packed, "weights of binary layers")
    text.constant("bias", artifact.constants.bias, "biases")


def define_tables(text: Text, artifact: Artifact, program: Program, pointer_bytes: int, placed: records.Placed) -> None:
    """Requantization, standardization, score scales and the records of ops and tensors.

    Parameters
    ----------
    text : Text
        Added to; the arena and the parameters are there already.
    artifact : Artifact
    program : Program
        As planned.
    pointer_bytes : int
        Of the target.
    placed : mapping
        Where parameters lie that are not those in flash.
    """
    constants = artifact.constants
    text.constant("multiplier", constants.multiplier, "requantization multipliers")
    text.constant("shift", constants.shift, "requantization shifts")
    text.constant("score_scale", score_scale(artifact), "score scales")
    text.constant("mean", artifact.preprocess.mean, "standardization means")
    text.constant("deviation", artifact.preprocess.std, "standardization deviations")
    text.records("cal_tensor", "tensors", _tensors(program), pointer_bytes)
    text.records("cal_layer", "layers", _layers(program), pointer_bytes)
    text.records("cal_op", "ops", (_op(op) for op in program.ops), pointer_bytes)
    calls = (records.call(program, at, placed) for at in range(len(program.ops)))
    text.records("cal_args", "calls", calls, pointer_bytes)


def define_program(text: Text, program: Program, pointer_bytes: int) -> None:
    """The program over its records, and the constants over their tables, as c/session reads them."""
    sections = {name: f"calibrant_{name}" for name in ("tensors", "layers", "ops")}
    fields: dict[str, object] = {
        **sections,
        "tensor_count": len(program.tensors),
        "layer_count": len(program.layers),
        "op_count": len(program.ops),
        "input": program.input,
        "output": program.output,
        "arena_bytes": program.arena_bytes,
        "weight_count": program.weight_count,
        "channel_count": program.channel_count,
        "pooled_count": program.pooled_count,
    }
    text.records("cal_program", "program", [tables.record(fields)], pointer_bytes)
    held = tables.record({name: f"calibrant_{name}" for _, name, _ in _engine.RECORDS["cal_constants"]})
    text.records("cal_constants", "constants", [held], pointer_bytes)


def _tensors(program: Program) -> Iterable[str]:
    for tensor, offset in zip(program.tensors, program.offsets, strict=True):
        names = ("height", "width", "channels", "zero_point", "bits")
        yield tables.record({name: getattr(tensor, name) for name in names} | {"offset": offset})


def _layers(program: Program) -> Iterable[str]:
    for layer in program.layers:
        yield tables.record({name: value for name, value in vars(layer).items() if name != "name"})


def _op(op: Op) -> str:
    inputs = {f"input{i}": tensor for i, tensor in enumerate(op.inputs)}
    kind: dict[str, object] = {"kind": f"CAL_KIND_{op.kind}", "input_count": len(op.inputs), **inputs}
    attrs = {name: value for name, value in op.attrs.items() if name not in _NOT_FIELDS}
    return tables.record({**kind, "output": op.output, "layer": op.layer, **attrs})


def forward(
    program: Program,
    variant: str,
    around: Callable[[int, int], tuple[str, str]] | None = None,
    order: Sequence[int] | None = None,
) -> str:
    """The function that runs the network over the arena: one line an op, in `order` or as the program has them.

    `around` gives, of the op at some place and its layer, what to say before and after it.
    """
    lines = []
    for at in range(len(program.ops)) if order is None else order:
        op = program.ops[at]
        name = program.layers[op.layer].name if op.layer >= 0 else op.kind
        before, after = around(at, op.layer) if around and op.layer >= 0 else ("", "")
        call = f"{sources.kernel(program, op, variant).symbol}(&calibrant_calls[{at}]);"
        lines.append(f"{before}    {call} /* {comment(name)} */\n{after}")
    return f"void calibrant_forward(void) {{\n{''.join(lines)}}}\n"


def comment(name: str) -> str:
    """A layer's name as a comment can hold it."""
    return "".join(c if c.isalnum() or c in "._- " else "?" for c in name)


def sizes(program: Program) -> dict[str, int]:
    """What the caller of the model must know, by name."""
    source, output = program.tensors[program.input], program.tensors[program.output]
    return {
        "INPUT_BYTES": source.nbytes,
        "INPUT_CHANNELS": source.channels,
        "INPUT_POSITIONS": source.height * source.width,
        "CLASSES": output.channels,
    }


def places(program: Program) -> dict[str, int]:
    """What only the code around the tables must know, by name."""
    source, output = program.tensors[program.input], program.tensors[program.output]
    return {
        "INPUT_OFFSET": program.offsets[program.input],
        "INPUT_ZERO_POINT": source.zero_point,
        "OUTPUT_OFFSET": program.offsets[program.output],
        "OUTPUT_BITS": output.bits,
        "OUTPUT_ZERO_POINT": 0 if output.bits == 32 else output.zero_point,
    }


def enumeration(names: Mapping[str, int]) -> str:
    """Integer constants of C.

    Examples
    --------
    >>> print(enumeration({"CLASSES": 3}))
    enum {
        CALIBRANT_CLASSES = 3,
    };
    """
    lines = "".join(f"    CALIBRANT_{name} = {value},\n" for name, value in names.items())
    return f"enum {{\n{lines}}};\n"


def input_scale(program: Program) -> str:
    """The scale of input codes, as C has it."""
    return tables.number(program.tensors[program.input].scale)
