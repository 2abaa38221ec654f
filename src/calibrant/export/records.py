"""Records of the C library as an exported project has them: their sizes, and what arguments of kernels are bound to.

Fields, their order and what each belongs to are those of the C sources, see c/include/calibrant/bindings.def.
"""

from __future__ import annotations

from collections.abc import Mapping

from calibrant import _engine
from calibrant.core.program import Program
from calibrant.export import signs, tables
from calibrant.export.report import aligned

# What fields belong to -> field -> C expression, 0 for what stays empty.
Values = Mapping[str, Mapping[str, object]]

# Layer -> field -> C expression, of parameters that lie in RAM: the others lie in flash as the artifact has them.
Placed = Mapping[int, Mapping[str, str]]

_WIDTH = {
    "bool": 1,
    "uint16_t": 2,
    "int32_t": 4,
    "uint32_t": 4,
    "float": 4,
    "int64_t": 8,
    "double": 8,
}


def record_bytes(name: str, pointer_bytes: int) -> int:
    """Size of a C struct of `_engine.RECORDS` with naturally aligned fields.

    Examples
    --------
    >>> record_bytes("cal_part", 4), record_bytes("cal_part", 8), record_bytes("cal_flip_settings", 4)
    (28, 40, 48)
    """
    return _extent(name, pointer_bytes)[0]


def _extent(ctype: str, pointer_bytes: int) -> tuple[int, int]:
    """Size and alignment."""
    if ctype.endswith("*"):
        return pointer_bytes, pointer_bytes
    if ctype in _WIDTH:
        return _WIDTH[ctype], _WIDTH[ctype]
    end, widest = 0, 1
    for part, _, count in _engine.RECORDS[ctype]:
        nbytes, alignment = _extent(part, pointer_bytes)
        end, widest = aligned(end, alignment) + count * nbytes, max(widest, alignment)
    return aligned(end, widest), widest


def bound(name: str, values: Values) -> dict[str, object]:
    """Fields of a `cal_args` or `cal_training_args` in order; those of what `values` lacks are left out."""
    return {field: values[of][field] for field, of in _engine.BINDINGS[name] if of in values}


def call(program: Program, at: int, placed: Placed) -> str:
    """The `cal_args` of an op."""
    op = program.ops[at]
    x = (f"(const int8_t *)calibrant_arena + {program.offsets[i]}" for i in op.inputs)
    values: dict[str, Mapping[str, object]] = {
        "op": {
            "op": f"&calibrant_ops[{at}]",
            "input": f"{{{', '.join(f'&calibrant_tensors[{i}]' for i in op.inputs)}}}",
            "x": f"{{{', '.join(x)}}}",
            "output": f"&calibrant_tensors[{op.output}]",
            "y": f"calibrant_arena + {program.offsets[op.output]}",
            "scratch": 0,  # firmware's kernels need none
        }
    }
    if op.layer >= 0:
        values["layer"] = of_layer(program, op.layer, placed)
    return tables.record(bound("cal_args", values))


def of_layer(program: Program, index: int, placed: Placed) -> dict[str, object]:
    """Values of a layer."""
    layer = program.layers[index]
    before = sum(other.weight_count for other in program.layers[:index] if not other.binary)
    return {
        "layer": f"&calibrant_layers[{index}]",
        "weights": 0 if layer.binary else f"calibrant_weights + {before}",
        **{name: f"calibrant_{name} + {layer.channel_offset}" for name in ("bias", "multiplier", "shift")},
        "packed": f"calibrant_signs + {signs.offset(program, index)}" if layer.binary else 0,  # nothing else is
        **placed.get(index, {}),
    }
