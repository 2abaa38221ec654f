"""`calibrant bench sparse`: training under a memory budget, schemes and methods against each other."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from calibrant.cli.bench.options import DataFolder, Engine, Fresh, Jobs, Out, conclude
from calibrant.cli.options import Json, integers, words
from calibrant.core.size import parse_size

TRAINING = "Training"


def sparse(
    target_folder: Out,
    data: DataFolder = None,
    model: Annotated[str, typer.Option("--model", help="mcunet-5fps, mbv2-w0.35 or proxyless-w0.3.")] = "mcunet-5fps",
    task: Annotated[str, typer.Option("--task", help="cifar10 or fashion.")] = "cifar10",
    schemes: Annotated[
        str | None,
        typer.Option(
            "--schemes",
            metavar="A,B",
            help="classifier, bias, bias-K, last-K, full; published budgets such as 49KB, or published for all.",
            show_default="a choice of all kinds",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods", metavar="A,B", help="qas, qas-direct, plain, float.", show_default="each scheme's own"
        ),
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", metavar="0,1", help="One run each.")] = "0,1",
    budget: Annotated[
        int | None,
        typer.Option(
            "--budget",
            parser=parse_size,
            metavar="SIZE",
            help="Mark what does not fit: arena and trained weights, e.g. 256KB.",
        ),
    ] = None,
    search: Annotated[bool, typer.Option("--search", help="Also find and run the best scheme under --budget.")] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="The published recipe: all samples, 55 epochs, random views. Takes days."),
    ] = False,
    train: Annotated[
        int | None,
        typer.Option("--train", min=1, help="Training samples.", show_default="2000", rich_help_panel=TRAINING),
    ] = None,
    test: Annotated[
        int | None, typer.Option("--test", min=1, help="Test samples.", show_default="all", rich_help_panel=TRAINING)
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", min=1, help="After one of warm-up.", show_default="9", rich_help_panel=TRAINING),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch", min=1, help="Samples of a step; qas-direct takes 1.", show_default="16", rich_help_panel=TRAINING
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", help="Learning rate of all rows.", show_default="as tuned", rich_help_panel=TRAINING),
    ] = None,
    jobs: Jobs = 0,
    engine: Engine = "local",
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """Train a published int8 network on a new task, under update schemes and by methods that share their memory budget.

    An interrupted run continues where it was when the same command is given again; a row that fails does not stop the
    others.

    Example: calibrant bench sparse --model mcunet-5fps --task cifar10 --seeds 0,1 --out results
    """
    from calibrant.bench import sparse as protocol
    from calibrant.bench.sparse import table

    options = protocol.Options(
        out=target_folder,
        data=data,
        model=model,
        task=task,
        schemes=words(schemes) if schemes else None,
        methods=words(methods) if methods else None,
        seeds=integers(seeds, "--seeds"),
        full=full,
        train=train,
        test=test,
        epochs=epochs,
        batch=batch,
        rate=rate,
        budget=budget,
        search=search,
        jobs=jobs,
        engine=engine,
        resume=not fresh,
    )
    conclude(partial(protocol.run, options), table.page, json, target_folder)
