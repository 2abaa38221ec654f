"""The code behind a result, as one digest: what was computed by other code is computed again, not taken over."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]


@cache
def code_digest(*parts: str, engine: bool = False) -> str:
    """SHA-256 of the Python code in parts of this package; comments, docstrings and layout do not count.

    Parameters
    ----------
    *parts : str
        Modules and packages by path, such as "zoo" or "pipeline/float_training"; "*" for the modules at the top;
        everything without any. Two Python versions may give two digests.
    engine : bool
        Whether the compiled engine counts too, by its file.

    Raises
    ------
    FileNotFoundError
        If a part does not exist: a part that was renamed must not drop out in silence.

    Examples
    --------
    >>> len(code_digest("core/rng")), code_digest("core/rng") == code_digest("core/size")
    (16, False)
    """
    total = hashlib.sha256()
    for path in sorted({path for part in parts or ("",) for path in _files(part)}):
        total.update(path.relative_to(PACKAGE).as_posix().encode())
        total.update(meaning(path.read_text(encoding="utf-8")).encode())
    if engine:
        total.update(_engine().read_bytes())
    return total.hexdigest()[:16]


def meaning(source: str) -> str:
    """A program without its comments, docstrings and layout.

    Examples
    --------
    >>> meaning('def f(x):\\n    "Twice."\\n    return 2 * x  # fast') == meaning("def f(x): return (2*x)")
    True
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if documented and ast.get_docstring(node, clean=False) is not None:  # type: ignore[arg-type]
            del node.body[0]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _files(part: str) -> Iterator[Path]:
    path = PACKAGE / part
    if part == "*":
        yield from PACKAGE.glob("*.py")
    elif path.is_dir():
        yield from path.rglob("*.py")
    elif path.with_name(path.name + ".py").is_file():
        yield path.with_name(path.name + ".py")
    else:
        raise FileNotFoundError(f"code of results: expected a module or package calibrant/{part}, got none")


def _engine() -> Path:
    spec = find_spec("calibrant._engine")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("code of results: expected the compiled module calibrant._engine, got none")
    return Path(spec.origin)
