"""The command line: one typer app, to which each module here adds its commands.

A module has a function `register(app)` and imports what is heavy (uvicorn, litellm, redis, httpx) inside
its commands, so that `tokentail --help` and `tokentail submit` start at once, and so that the client
commands work where only the client is installed.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tokentail import __version__
from tokentail.cli import doctor, jobs, servers
from tokentail.shared.errors import ConfigError, TokentailError

#: A setting, file or address is wrong; nothing was started. The supervisor restarts nothing that exits so.
MISCONFIGURED = 2

app = typer.Typer(
    name="tokentail",
    help="LLM generations as durable jobs: submit once, follow from anywhere, resume after any drop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line. An error of ours is one sentence on stderr; the exit code is 2 if it is the
    configuration's, else 1."""
    try:
        app()
    except TokentailError as error:
        typer.echo(f"tokentail: {error}", err=True)
        sys.exit(MISCONFIGURED if isinstance(error, ConfigError) else 1)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tokentail {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


# In the order in which `--help` lists their commands.
for _module in (servers, jobs, doctor):
    _module.register(app)
