"""`calibrant bench stream`: sessions with their defaults on streams as they come."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from calibrant.cli.bench.options import DataFolder, Engine, Fresh, Jobs, Out, conclude
from calibrant.cli.options import Json, integers, words


def stream(
    target_folder: Out,
    data: DataFolder = None,
    family: Annotated[
        str,
        typer.Option(
            "--family",
            metavar="A,B",
            help="dsa, usc_had, fsdd, gas_drift, elec2, weather, cifar10, scenarios; all of these; or synthetic.",
        ),
    ] = "all",
    cases: Annotated[
        str, typer.Option("--cases", metavar="TEXT", help="Only cases whose name contains it.", show_default="all")
    ] = "",
    methods: Annotated[
        str, typer.Option("--methods", metavar="A,B", help="none, bn, flip, bp, bp-replay, er, derpp and others.")
    ] = "none,bn,bp,bp-replay,er,derpp,flip",
    labels: Annotated[
        str, typer.Option("--labels", metavar="all,9,0", help="Of each window: all, a number, a share.")
    ] = "all,9,0",
    order: Annotated[
        str, typer.Option("--order", metavar="A,B", help="shuffled, or in runs of one class.")
    ] = "shuffled",
    gate: Annotated[str, typer.Option("--gate", metavar="on,off", help="Of sessions; on is what users get.")] = "on",
    seeds: Annotated[str, typer.Option("--seeds", "--seed", metavar="0,1,2", help="One run each.")] = "0",
    sequences: Annotated[int, typer.Option("--sequences", min=1, help="Of the synthetic family.")] = 100,
    bits: Annotated[int, typer.Option("--bits", help="Weight bits: 2, 4 or 8.")] = 4,
    delay: Annotated[int, typer.Option("--delay", min=0, help="Windows until labels arrive.")] = 0,
    jobs: Jobs = 0,
    engine: Engine = "local",
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """Run sessions with a user's defaults on real and synthetic streams, next to baselines.

    Every window is predicted before anything is learned from it. An interrupted run continues where it was when the
    same command is given again; a row that fails does not stop the others.

    Example: calibrant bench stream --family fsdd,gas_drift --labels all,0 --seeds 0,1,2 --out results
    """
    from calibrant.bench import stream as protocol
    from calibrant.bench.stream import table

    options = protocol.Options(
        out=target_folder,
        data=data,
        family=words(family),
        methods=words(methods),
        labels=words(labels),
        order=words(order),
        gate=words(gate),
        seeds=integers(seeds, "--seeds"),
        cases=cases,
        sequences=sequences,
        bits=bits,
        delay=delay,
        jobs=jobs,
        engine=engine,
        resume=not fresh,
    )
    conclude(partial(protocol.run, options), table.page, json, target_folder)
