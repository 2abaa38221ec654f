"""What the tree promises of itself: short files, short hands, and tests that say why where they look inside."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "calibrant").rglob("*.py"))
LINES, PARAMETERS = 400, 10
# Commands take their options one by one, and these are the doors that users come through.
DOORS = (
    "session/session.py: Session.open",
    "pipeline/torch_model.py: prepare",
    "pipeline/integer_model.py: prepare_integer",
)


def test_files_are_short():
    long = {
        str(path.relative_to(ROOT)): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > LINES
    }
    assert not long


def test_functions_take_few_parameters():
    found = dict(hand for path in SOURCES if "cli" not in path.parts for hand in hands(path))
    long = {name: count for name, count in found.items() if count > PARAMETERS and name not in DOORS}
    assert not long
    assert all(found.get(name, 0) > PARAMETERS for name in DOORS), "a name that is not needed anymore"


def hands(path: Path) -> Iterator[tuple[str, int]]:
    """Functions of a module and how many parameters each takes, self and cls not counted."""
    where = path.relative_to(ROOT / "src" / "calibrant")

    def walk(node: ast.AST, names: tuple[str, ...], inside_class: bool) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                given = child.args
                count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
                static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in child.decorator_list)
                yield f"{where}: {'.'.join((*names, child.name))}", count - (inside_class and not static)
                yield from walk(child, (*names, child.name), False)
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, (*names, child.name), True)
            else:
                yield from walk(child, names, inside_class)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), (), False)
