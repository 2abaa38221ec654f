"""Saved exported programs (.pt2), opened without running anything that they hold.

torch's own loader trusts its file: it unpickles sample inputs, weights and constants, loads compiled libraries,
evaluates sizes as Python, looks functions up by name from ``torch`` on, and writes names into code that it compiles. So
torch never sees somebody's file, but one that is made here from what was checked: plain tensors, and a graph of ATen
operators on words and numbers.
"""

from __future__ import annotations

import io
import json
import logging
import math
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from calibrant.core.errors import ModelError
from calibrant.frontend.aten import HANDLERS

_PROGRAM, _WEIGHTS, _CONSTANTS = (
    "models/model.json",
    "data/weights/model_weights_config.json",
    "data/constants/model_constants_config.json",
)
_FOLDERS = {_WEIGHTS: "data/weights", _CONSTANTS: "data/constants"}
_SAMPLES = "data/sample_inputs/model.pt"
_WORD = re.compile(r"[A-Za-z0-9_.]*", re.ASCII)
_STACK = re.compile(r"[A-Za-z0-9_.,;@<>]*", re.ASCII)  # "name,path,type;..." of the modules that a node is of
# What sizes are made of as torch writes them: sympy evaluates these texts as Python.
_SIZE = re.compile(
    r"(?:Symbol\('[a-z]{1,2}\d{1,9}'(?:, (?:positive|nonnegative|integer)=True)*\)"
    r"|Integer\(-?\d{1,12}\)|(?:Add|Mul|FloorDiv|Mod)\(|\)|, ){1,200}"
)
_ATEN = re.compile(r"torch\.ops\.aten\.([a-z_][a-z0-9_]*)\.([a-z_][a-z0-9_]*)", re.ASCII | re.IGNORECASE)
_ARITHMETIC = re.compile(r"_operator\.(?:add|sub|mul|floordiv|truediv|mod|neg|getitem|eq|ne|ge|gt|le|lt)")
_SYMBOLIC = re.compile(r"torch\.sym_(?:int|float|max|min|not)")
_REFUSED = ("as_operator", "as_graph", "as_custom_obj", "as_opaque_obj", "as_complex")  # kinds of arguments
_TREES = ("builtins.tuple", "builtins.list", "builtins.dict", None)
_MALFORMED = (
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,  # what zipfile raises for compressions and versions that it does not know
    RecursionError,
    zipfile.BadZipFile,
)
_SYMBOLS = 10_000  # torch counts up to the number in a symbol's name


def read(path: Path) -> ExportedProgram:
    """The program that ``torch.export.save`` wrote to `path`; sample inputs and extra files are left where they are.

    Raises
    ------
    ModelError
        The file cannot be read, is none of this release of torch, or needs what could run code: pickles, compiled
        parts, or a graph of anything but ATen operators.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path)
    except OSError as error:
        raise ModelError(f"{path}: model cannot be read ({error.strerror})") from error
    except _MALFORMED as error:
        reason = f"a damaged one ({type(error).__name__}: {str(error)[:80]})"
        raise ModelError(f"{path}: expected a program saved by torch.export.save, got {reason}") from error
    try:
        with _silent():
            return torch.export.load(_rewritten(members))
    except Exception as error:  # torch raises anything at a graph that does not hold together
        raise ModelError(
            f"{path}: expected a program that torch {torch.__version__} can load, got {type(error).__name__}; save it "
            "with this release"
        ) from error


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, bytes]:
    """What torch is to see, by name without the archive's own folder, checked and made anew."""
    held = {info.filename.partition("/")[2]: info for info in archive.infolist()}
    missing = [name for name in (_PROGRAM, _WEIGHTS, _CONSTANTS) if name not in held]
    if missing:
        raise ModelError(f"{path}: expected a program saved by torch.export.save, got an archive without {missing[0]}")

    def content(name: str) -> bytes:
        if name not in held:
            raise ModelError(f"{path}: expected a member '{name:.80}', got none")
        if held[name].compress_type != zipfile.ZIP_STORED:  # torch compresses nothing, and what unpacks can explode
            raise ModelError(f"{path}: member '{name:.80}': expected it uncompressed, as torch writes it")
        return archive.read(held[name])

    members = {_PROGRAM: _dumped(_program(json.loads(content(_PROGRAM)), f"{path}: {_PROGRAM}"))}
    for config, folder in _FOLDERS.items():
        payloads = json.loads(content(config))
        _check_words(payloads, f"{path}: {config}")
        for name, payload in payloads["config"].items():
            where = f"{path}: tensor '{name}'"
            file = f"{folder}/{payload['path_name']}"
            if payload["use_pickle"] or payload["tensor_meta"] is None:
                raise ModelError(f"{where}: expected a plain tensor, got a pickled one, which may run code")
            members[file] = content(file)
            sizes = [size.get("as_int") for size in payload["tensor_meta"]["sizes"]]
            if not all(type(size) is int and size >= 0 for size in sizes) or math.prod(sizes) > len(members[file]):
                raise ModelError(f"{where}: expected a shape that its {len(members[file])} bytes hold, got {sizes}")
        members[config] = _dumped(payloads)
    return members


def _program(value: Any, where: str) -> dict[str, Any]:
    """The graph, without what nobody needs of it, everything else checked."""
    module = value["graph_module"]
    module["metadata"], module["treespec_namedtuple_fields"] = {}, {}
    value |= {"guards_code": [], "torch_version": torch.__version__.partition("+")[0]}  # guards are code
    for call in module["module_call_graph"]:
        if call["signature"] is not None:
            for tree in ("in_spec", "out_spec"):
                call["signature"][tree] = _tree(call["signature"][tree], where)
    for symbol in value["range_constraints"]:
        digits = "".join(filter(str.isdigit, symbol))
        if not 0 < len(digits) < 6 or int(digits) > _SYMBOLS:
            raise ModelError(f"{where}: expected sizes counted to {_SYMBOLS}, got '{symbol:.40}'")
    for node in module["graph"]["nodes"]:
        stack = node["metadata"].get("nn_module_stack", "")
        node["metadata"] = {"nn_module_stack": stack} if stack and _STACK.fullmatch(stack) else {}
        _check_target(node["target"], f"{where}: node '{node['name']!s:.80}'")
    _check_words(value, where)
    return dict(value)


def _check_target(target: str, where: str) -> None:
    """A pure operator: of ATen, without a text that could name a file, or arithmetic on sizes."""
    if _ARITHMETIC.fullmatch(target) or _SYMBOLIC.fullmatch(target):
        return
    name = _ATEN.fullmatch(target)
    packet = getattr(torch.ops.aten, name[1], None) if name else None
    operator = getattr(packet, name[2], None) if name else None
    if not isinstance(operator, torch._ops.OpOverload):
        raise ModelError(f"{where}: expected an operator of ATen, got '{target:.80}'")
    schema = operator._schema
    texts = any("str" in str(argument.type) for argument in schema.arguments)
    tensors = all("Tensor" in str(result.type) or "Int" in str(result.type) for result in schema.returns)
    if not tensors or (texts and target.removeprefix("torch.ops.") not in HANDLERS):
        raise ModelError(f"{where}: expected an operator on tensors, got '{target:.80}'")


def _check_words(value: Any, where: str, key: str = "") -> None:
    """Every text of the JSON value is a word, but for sizes, module stacks and trees, which have forms of their own."""
    match value:
        case str():
            form = {"expr_str": _SIZE, "nn_module_stack": _STACK}.get(key, _WORD)
            plain = key in ("in_spec", "out_spec") or form.fullmatch(value) is not None
            if not plain or (key == "name" and value and not value.isidentifier()):
                raise ModelError(f"{where}: field '{key:.40}': expected a plain word, got {value!r:.80}")
        case Mapping():
            for name, held in value.items():
                if name in _REFUSED:
                    raise ModelError(f"{where}: expected tensors, numbers and words, got an argument '{name}'")
                if _WORD.fullmatch(name) is None:
                    raise ModelError(f"{where}: expected plain words for names, got {name!r:.80}")
                _check_words(held, where, name)
        case list():
            for held in value:
                _check_words(held, where, key)


def _tree(text: str, where: str) -> str:
    """How arguments nest, as JSON: tuples, lists and dictionaries, whose loading imports nothing."""
    protocol, root = json.loads(text)
    waiting = [root]
    while waiting:
        node = waiting.pop()
        context = json.loads(node["context"]) if node["context"] is not None else None
        words = context is None or (isinstance(context, list) and all(isinstance(each, str) for each in context))
        if node["type"] not in _TREES or not words:
            raise ModelError(f"{where}: expected tuples, lists and dictionaries, got a tree of {node['type']!r:.80}")
        waiting += node["children_spec"]
    return json.dumps([protocol, root])


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def _rewritten(members: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in (members | {_SAMPLES: b"", "archive_format": b"pt2", "archive_version": b"0"}).items():
            archive.writestr(f"model/{name}", content)
        archive.writestr("model/.data/version", b"6\n")
        archive.writestr("model/byteorder", b"little")
    buffer.seek(0)
    return buffer


@contextmanager
def _silent() -> Iterator[None]:
    """torch logs tracebacks of what it then raises, and warns about its own internals."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
