"""`calibrant bench qcore`: continual calibration against baselines."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from calibrant.cli.bench.options import RUN, DataFolder, Engine, Fresh, Jobs, Out, conclude
from calibrant.cli.options import Json, integers, words
from calibrant.core.errors import DataError

STREAM, LABELS = "Stream", "Labels and memory"


def qcore(
    target_folder: Out,
    data: DataFolder = None,
    dataset: Annotated[
        str, typer.Option("--dataset", help="dsa, usc_had, cifar10, fsdd, gas_drift, elec2 or weather.")
    ] = "dsa",
    network: Annotated[
        str,
        typer.Option("--network", help="cnn, inception_time, omniscale_cnn; for images resnet18, vgg16, small_cnn."),
    ] = "cnn",
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="1,3", help="Subjects that train, paired with --target.", show_default="1"),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="2,5",
            help="Subjects that stream; the source itself: its later segments, without drift.",
            show_default="2",
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Every ordered pair of the subjects at hand.")] = False,
    bits: Annotated[str, typer.Option("--bits", metavar="2,4,8", help="Weight bits.")] = "2,4,8",
    coreset: Annotated[
        str, typer.Option("--coreset", metavar="10,20", help="Training samples that travel with the model.")
    ] = "20",
    coreset_rule: Annotated[
        str | None,
        typer.Option(
            "--coreset-rule",
            metavar="A,B",
            help="random, balanced, misses, histogram, kmeans.",
            show_default="as in calibrant prepare",
        ),
    ] = None,
    coreset_bits: Annotated[
        str, typer.Option("--coreset-bits", metavar="8,4", help="Bits of the values of their samples.")
    ] = "8",
    updaters: Annotated[
        str, typer.Option("--updaters", metavar="A,B", help="Ways to adapt; a wrong name lists them.")
    ] = "none,flip,flip-taps,bp",
    split: Annotated[
        str, typer.Option("--split", help="segment, or random as published: neighbors leak into the test split.")
    ] = "segment",
    seeds: Annotated[str, typer.Option("--seeds", metavar="0,1,2", help="One run each.")] = "0",
    windows: Annotated[
        int | None,
        typer.Option("--windows", min=1, help="Windows of the stream.", show_default="10", rich_help_panel=STREAM),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            "--window", min=1, help="Samples a window.", show_default="an equal part each", rich_help_panel=STREAM
        ),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            metavar="all,0.1,9,0",
            help="Labels of each window: all, a share, a number, none.",
            rich_help_panel=LABELS,
        ),
    ] = "all",
    label_choice: Annotated[
        str,
        typer.Option(
            "--label-choice", metavar="chance,ask", help="Drawn, or as the session asks.", rich_help_panel=LABELS
        ),
    ] = "chance",
    delay: Annotated[
        int, typer.Option("--delay", min=0, help="Windows until labels arrive.", rich_help_panel=LABELS)
    ] = 0,
    capacity: Annotated[
        int | None,
        typer.Option(
            "--capacity",
            min=1,
            help="Samples that the device keeps.",
            show_default="as many as the coreset",
            rich_help_panel=LABELS,
        ),
    ] = None,
    gate: Annotated[
        str,
        typer.Option(
            "--gate", metavar="off,on", help="on: adapt only to drift, as sessions do.", rich_help_panel=LABELS
        ),
    ] = "on",
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Steps a window.", show_default="each updater's own", rich_help_panel=RUN),
    ] = None,
    training_steps: Annotated[
        int | None,
        typer.Option(
            "--training-steps",
            min=1,
            help="Of the float networks.",
            show_default="the data set's own",
            rich_help_panel=RUN,
        ),
    ] = None,
    jobs: Jobs = 0,
    engine: Engine = "local",
    fresh: Fresh = False,
    json: Json = False,
) -> None:
    """QCore's protocol: one subject trains, another arrives as windows; accuracy on both after each.

    Lists are crossed. An interrupted run continues where it was when the same command is given again; a row that fails
    does not stop the others.

    Example: calibrant bench qcore --dataset dsa --source 1 --target 2 --bits 4 --seeds 0,1,2 --out results
    """
    from calibrant.bench import qcore as protocol
    from calibrant.bench.reports import tables

    if full and (source or target):
        raise DataError("--full: expected no --source and --target beside it, got them")
    defaults = protocol.Options(target_folder)
    options = protocol.Options(
        out=target_folder,
        data=data,
        dataset=dataset,
        network=network,
        source=integers(source, "--source") if source else defaults.source,
        target=integers(target, "--target") if target else defaults.target,
        full=full,
        bits=integers(bits, "--bits"),
        coreset=integers(coreset, "--coreset"),
        coreset_rule=words(coreset_rule) if coreset_rule else defaults.coreset_rule,
        coreset_bits=integers(coreset_bits, "--coreset-bits"),
        updaters=words(updaters),
        split=split,
        seeds=integers(seeds, "--seeds"),
        labels=words(labels),
        label_choice=words(label_choice),
        delay=delay,
        capacity=capacity,
        gate=words(gate),
        windows=windows,
        window=window,
        steps=steps,
        training_steps=training_steps,
        jobs=jobs,
        engine=engine,
        resume=not fresh,
    )
    conclude(partial(protocol.run, options), tables.table, json, target_folder)
