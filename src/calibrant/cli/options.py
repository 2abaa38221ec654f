"""Options that several commands share, spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibrant.core.errors import DataError
from calibrant.core.size import parse_size


def words(text: str) -> tuple[str, ...]:
    """The parts of a list such as ``none,flip``, without blanks."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def integers(text: str, option: str) -> tuple[int, ...]:
    """The numbers of a list such as ``2,4,8``; `option` is named where it holds something else.

    Examples
    --------
    >>> integers("2, 4,8", "--bits")
    (2, 4, 8)
    """
    parts = words(text)
    if not all(part.isdigit() for part in parts):
        raise DataError(f"{option}: expected numbers separated by commas, got '{text}'")
    return tuple(int(part) for part in parts)


def numbers(text: str, option: str) -> tuple[float, ...]:
    """The numbers of a list such as ``2,0.1``; `option` is named where it holds something else.

    Examples
    --------
    >>> numbers("2, 0.1", "--rates")
    (2.0, 0.1)
    """
    try:
        return tuple(float(part) for part in words(text))
    except ValueError:
        raise DataError(f"{option}: expected numbers separated by commas, got '{text}'") from None


ArtifactPath = Annotated[Path, typer.Argument(metavar="ARTIFACT", help="Artifact file made by `calibrant prepare`.")]
StatePath = Annotated[Path, typer.Argument(metavar="STATE", help="State file kept by `calibrant run`.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random: same seed, same bytes.")]
Verify = Annotated[
    Path | None, typer.Option("--verify", metavar="KEY", help="Refuse the artifact unless this public key signed it.")
]
Ram = Annotated[
    int | None,
    typer.Option("--ram", parser=parse_size, metavar="SIZE", help="Refuse to exceed this much memory, e.g. 2MB."),
]
Storage = Annotated[
    int | None,
    typer.Option("--storage", parser=parse_size, metavar="SIZE", help="Refuse a state larger than this, e.g. 8MB."),
]
