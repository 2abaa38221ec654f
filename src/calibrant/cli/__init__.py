"""The command line: one file a command, and the only code that prints."""

from __future__ import annotations

from typing import Annotated

import typer

from calibrant.cli.bench import bench
from calibrant.cli.demo import demo
from calibrant.cli.doctor import doctor
from calibrant.cli.export import export
from calibrant.cli.failures import Commands
from calibrant.cli.forget import forget
from calibrant.cli.inspect import inspect
from calibrant.cli.keygen import keygen
from calibrant.cli.log import log
from calibrant.cli.predict import predict
from calibrant.cli.prepare import prepare
from calibrant.cli.rollback import rollback
from calibrant.cli.run import run
from calibrant.core.version import VERSION

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"calibrant {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="On an error, show the whole traceback.")] = False,
) -> None:
    """Keep quantized neural networks calibrated on the device that runs them."""


for command in (prepare, inspect, predict, run, log, rollback, forget, export, demo, doctor, keygen):
    app.command()(command)
app.add_typer(bench, name="bench")


def main() -> None:
    """Entry point of the `calibrant` command; exit status 2 for what the caller can mend, 130 for Ctrl-C."""
    app(prog_name="calibrant")
