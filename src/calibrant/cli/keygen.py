"""`calibrant keygen`: the key pair for signing artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calibrant.cli.console import out


def keygen(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="Writes NAME.key (secret) and NAME.pub (public).")],
) -> None:
    """Make an Ed25519 key pair: `prepare --sign NAME.key`, then `run --verify NAME.pub`.

    Example: calibrant keygen maker
    """
    from calibrant.artifact import generate_keys

    secret, public = name.with_name(f"{name.name}.key"), name.with_name(f"{name.name}.pub")
    generate_keys(secret, public)
    out.print(f"{secret}  secret: signs artifacts, stays on the server")
    out.print(f"{public}  public: goes to the devices")
