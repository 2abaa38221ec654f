"""`calibrant bench cwr`: heads that learn class after class."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from calibrant.cli.bench.options import DataFolder, Engine, Fresh, Jobs, Out, conclude
from calibrant.cli.options import Json, integers, numbers, words
from calibrant.core.size import parse_size

TRAINING = "Training"


def cwr(
    target_folder: Out,
    data: DataFolder = None,
    dataset: Annotated[str, typer.Option("--dataset", help="dsa, fsdd or cifar10.")] = "dsa",
    first: Annotated[
        int | None,
        typer.Option("--first", min=2, help="Classes that train the backbone.", show_default="the data set's own"),
    ] = None,
    experiences: Annotated[
        int | None,
        typer.Option("--experiences", min=1, help="In which the others come.", show_default="the data set's own"),
    ] = None,
    methods: Annotated[
        str, typer.Option("--methods", metavar="A,B", help="cwr-float, cwr, naive, joint, ncm, slda, slda-coreset.")
    ] = "cwr-float,cwr,naive,joint,ncm,slda,slda-coreset",
    qf: Annotated[str, typer.Option("--qf", metavar="8,4", help="Bits of weights where cwr answers.")] = "8",
    qb: Annotated[str, typer.Option("--qb", metavar="8,16,32", help="Bits of weights where it learns.")] = "8,16,32",
    rounding: Annotated[
        str, typer.Option("--rounding", metavar="A,B", help="Of its updates: nearest, stochastic, widen.")
    ] = "nearest,stochastic,widen",
    replay: Annotated[
        str, typer.Option("--replay", metavar="A,B", help="Remembered samples: none, raw, latent.")
    ] = "none",
    memory: Annotated[
        int, typer.Option("--memory", parser=parse_size, metavar="SIZE", help="For remembered samples.")
    ] = 40_000,
    rates: Annotated[
        str,
        typer.Option("--rates", metavar="2,0.1", help="Of features of length about 1.", rich_help_panel=TRAINING),
    ] = "2",
    epochs: Annotated[
        str, typer.Option("--epochs", metavar="4,40", help="Of an experience.", rich_help_panel=TRAINING)
    ] = "4",
    bits: Annotated[int, typer.Option("--bits", help="Of the backbone's weights: 2, 4 or 8.")] = 8,
    seeds: Annotated[str, typer.Option("--seeds", "--seed", metavar="0,1,2", help="One run each.")] = "0",
    jobs: Jobs = 0,
    engine: Engine = "local",
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """Teach heads class after class on a frozen backbone that has seen the first classes only.

    Lists are crossed. An interrupted run continues where it was when the same command is given again; a row that fails
    does not stop the others.

    Example: calibrant bench cwr --dataset cifar10 --first 6 --experiences 4 --replay none,latent --out results
    """
    from calibrant.bench import cwr as protocol
    from calibrant.bench.cwr import table

    options = protocol.Options(
        out=target_folder,
        data=data,
        dataset=dataset,
        first=first,
        experiences=experiences,
        methods=words(methods),
        qf=integers(qf, "--qf"),
        qb=integers(qb, "--qb"),
        rounding=words(rounding),
        replay=words(replay),
        memory=memory,
        rates=numbers(rates, "--rates"),
        epochs=integers(epochs, "--epochs"),
        bits=bits,
        seeds=integers(seeds, "--seeds"),
        jobs=jobs,
        engine=engine,
        resume=not fresh,
    )
    conclude(partial(protocol.run, options), table.page, json, target_folder)
