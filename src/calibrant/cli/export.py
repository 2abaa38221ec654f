"""`calibrant export`: an artifact becomes a C project for a microcontroller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from calibrant.cli.console import emit, out, plain, table
from calibrant.cli.options import ArtifactPath, Json, Verify
from calibrant.core.size import parse_size


def export(
    artifact: ArtifactPath,
    board: Annotated[str, typer.Option("--board", help="mps2-an386, mps2-an500, mps3-an547 or generic.")],
    ram: Annotated[
        int,
        typer.Option(
            "--ram", parser=parse_size, metavar="SIZE", help="All RAM it may use, stack included, e.g. 256KB."
        ),
    ],
    target: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The project's folder, created.")],
    updater: Annotated[
        str | None,
        typer.Option(
            "--updater", help="How it adapts: flip, sparse, affine or none.", show_default="as the artifact says"
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            "--window",
            min=1,
            metavar="N",
            help="Samples that flips or affine correction learn from at once.",
            show_default="as many as fit, up to 40",
        ),
    ] = None,
    block: Annotated[
        int | None,
        typer.Option("--block", min=1, help="Flip so many weights at a time: hardly any memory.", show_default="all"),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option("--scheme", help="What --updater sparse trains, as for `prepare`.", show_default="the artifact's"),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Samples whose gradients --updater sparse sums.", show_default="1"),
    ] = None,
    build: Annotated[
        bool, typer.Option("--build", help="Compile it too, and hold the image against the table.")
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE.png", help="Draw the arena over the steps of --updater sparse."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a project exported before.")] = False,
    verify: Verify = None,
    json: Json = False,
) -> None:
    """Write C11 that infers and adapts in static memory, bit for bit as a session does.

    Example: calibrant export har.cal --board mps2-an386 --ram 256KB -o firmware
    """
    from calibrant import export as exports
    from calibrant.artifact import read

    held = read(artifact, verify=verify)
    report = exports.export(
        held,
        board,
        ram,
        updater or ("sparse" if held.settings.form == "sparse" else "flip"),
        target,
        options=exports.ExportOptions(window=window, block=block, scheme=scheme, batch=batch),
        force=force,
        build=build,
        picture=picture,
    )
    if json:
        emit(_facts(report) | {"folder": str(target)})
        return
    rows = table("what", "where", "bytes", left=2, title=f"{target}: firmware for {report.board}")
    for what, memory, nbytes in report.rows():
        rows.add_row(what, memory, f"{nbytes:,}")
    out.print(rows)
    out.print(f"{report.ram_bytes:,} of {report.ram_limit:,} bytes of RAM; {target / 'README.md'} says how to use it")


def _facts(report: Any) -> dict[str, Any]:
    kinds = ("arena", "mutable", "samples", "workspace", "constants")
    totals = {f"{kind}_bytes": report.total(kind) for kind in kinds}
    return {**plain(report), **totals, "ram_bytes": report.ram_bytes}
