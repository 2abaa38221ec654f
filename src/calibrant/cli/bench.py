"""`calibrant bench`: published protocols against baselines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibrant.cli.console import emit, out, progress
from calibrant.cli.options import Json, integers, words

bench = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Rerun published protocols against baselines.")


@bench.callback()
def _protocols() -> None:
    """Rerun published protocols against baselines; each writes rows.json, table.md and plots."""


@bench.command()
def qcore(
    target_folder: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where rows, table and plots go.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="Data sets.", show_default="$CALIBRANT_DATA")
    ] = None,
    dataset: Annotated[str, typer.Option("--dataset", help="dsa or usc_had.")] = "dsa",
    network: Annotated[str, typer.Option("--network", help="cnn or inception_time.")] = "cnn",
    source: Annotated[
        str, typer.Option("--source", metavar="1,3", help="Subjects that train, paired with --target.")
    ] = ("1"),
    target: Annotated[str, typer.Option("--target", metavar="2,5", help="Subjects that stream.")] = "2",
    bits: Annotated[str, typer.Option("--bits", metavar="2,4,8", help="Weight bits.")] = "2,4,8",
    coreset: Annotated[int, typer.Option("--coreset", min=1, help="Training samples that the device keeps.")] = 20,
    updaters: Annotated[
        str, typer.Option("--updaters", metavar="A,B", help="none, flip, flip-taps, bp (back-propagation).")
    ] = "none,flip,flip-taps,bp",
    split: Annotated[
        str, typer.Option("--split", help="segment, or random as published: neighbors leak into the test split.")
    ] = "segment",
    seeds: Annotated[str, typer.Option("--seeds", metavar="0,1,2", help="One run each.")] = "0",
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Steps per window.", show_default="each updater's own")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=0, help="Processes; 0 takes every usable CPU.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not take over what an earlier run left in --out.")] = False,
    json: Json = False,
) -> None:
    """QCore's protocol: one subject trains, another arrives as ten windows; accuracy on both after each.

    An interrupted run continues where it was when the same command is given again.

    Example: calibrant bench qcore --dataset dsa --source 1 --target 2 --bits 4 --seeds 0,1,2 --out results
    """
    from calibrant.bench import qcore as protocol
    from calibrant.bench import report

    options = protocol.Options(
        out=target_folder,
        data=data,
        dataset=dataset,
        network=network,
        source=integers(source, "--source"),
        target=integers(target, "--target"),
        bits=integers(bits, "--bits"),
        coreset=coreset,
        updaters=words(updaters),
        split=split,
        seeds=integers(seeds, "--seeds"),
        steps=steps,
        jobs=jobs,
        resume=not fresh,
    )
    with progress() as show:
        result = protocol.run(options, show)
    if json:
        emit(result)
    else:
        out.print(report.table(result), end="", markup=False)
