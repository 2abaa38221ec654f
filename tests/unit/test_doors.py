"""Tests go through public doors. One that looks behind them says why, in one line: `# private: <why>`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILES = sorted(TESTS.rglob("*.py"))
REASON = re.compile(r"# private: \w+")
OWN = {"calibrant", *(path.stem for path in (*FILES, *TESTS.iterdir()))}  # modules whose private names are ours
TUPLES = {"_asdict", "_fields", "_make", "_replace"}  # the public names of a namedtuple
LOOKING = {"getattr", "setattr", "delattr"}  # also those of pytest's monkeypatch
UNSAID = {
    "from calibrant import _engine": 1,
    "import calibrant._engine": 1,
    "from calibrant.updaters.guarded_flips import GuardedFlips, _Gradient": 1,
    "from conform.networks import _seed": 1,
    "session._parts": 1,
    "small.session._parts.store": 1,
    "artifacts._cached": 1,
    "with opened() as session:\n    seen = (\n        session._parts,\n    )": 3,
    "monkeypatch.setattr(store, '_connection', None)": 1,
    "monkeypatch.setattr('calibrant.engine.engine._engine', None)": 1,
    "getattr(session, '_parts')": 1,
    "# private: the line below is not meant\n\nsession._parts": 3,
    "session._parts  # private:": 1,
}
FINE = (
    "session._parts  # private: what the engine really holds",
    "# private: what the engine really holds\nsession._parts",
    "class A(Base):\n    def f(self):\n        return self._x, super()._f()",
    "import os\nos._exit(1)",
    "from os import _exit",
    "pair._replace(x=1)",
    "store.__class__",
    "from __future__ import annotations",
    "monkeypatch.setattr(store, 'connection', '_name')",
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_a_test_uses_public_doors_or_says_why_not(path: Path):
    assert not list(unsaid(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("source", UNSAID)
def test_a_look_inside_is_seen(source: str):
    assert [line for line, _ in unsaid(source)] == [UNSAID[source]]


@pytest.mark.parametrize("source", FINE)
def test_what_is_said_or_not_ours_is_no_matter(source: str):
    assert not list(unsaid(source))


def unsaid(source: str) -> Iterator[tuple[int, str]]:
    """Lines that name something private of ours without a reason on them or on the line above, and what they name."""
    lines = ["", *source.splitlines()]
    named = {(node.lineno, name) for node, name in private(ast.parse(source))}
    for line, name in sorted(named):
        if not any(REASON.search(near) for near in (lines[line], lines[line - 1])):
            yield line, name


def private(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Imports, attributes and names in strings that are private and neither one's own nor another library's."""
    foreign = {name for node in ast.walk(tree) for name in foreign_names(node)}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module)) if ours(module):
                yield from ((node, alias.name) for alias in node.names if hidden(f"{module}.{alias.name}"))
            case ast.Import():
                yield from ((node, alias.name) for alias in node.names if ours(alias.name) and hidden(alias.name))
            case (
                ast.Attribute(value=ast.Name(id="self" | "cls"))
                | ast.Attribute(value=ast.Call(func=ast.Name(id="super")))
            ):
                pass
            case ast.Attribute(value=value, attr=attr) if hidden(attr) and root(value) not in foreign:
                yield node, attr
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args) if name in LOOKING:
                looked = next((given for given in args[:2] if isinstance(given, ast.Constant)), ast.Constant(None))
                sought = looked.value if isinstance(looked.value, str) else ""
                if hidden(sought) and (looked is not args[0] or ours(sought)):
                    yield looked, sought


def foreign_names(node: ast.AST) -> Iterator[str]:
    """Names that an import binds to another library's modules."""
    if isinstance(node, ast.Import):
        yield from (alias.asname or alias.name.split(".")[0] for alias in node.names if not ours(alias.name))
    elif isinstance(node, ast.ImportFrom) and not ours(node.module or ""):
        yield from (alias.asname or alias.name for alias in node.names)


def ours(module: str) -> bool:
    return module.split(".")[0] in OWN


def hidden(path: str) -> bool:
    """Whether a part of a dotted name is private."""
    return any(re.match(r"_[^_]", part) and part not in TUPLES for part in path.split("."))


def root(node: ast.expr) -> str:
    """The name that a chain of attributes and calls begins with."""
    while not isinstance(node, ast.Name):
        inner = getattr(node, "value", None) or getattr(node, "func", None)
        if not isinstance(inner, ast.expr):
            return ""
        node = inner
    return node.id
