"""The command line: one typer app, to which each module here adds its commands.

A module has a function `register(app)` and imports what is heavy (uvicorn, litellm, redis, httpx) inside
its commands, so that `tokentail --help` and `tokentail submit` start at once, and so that the client
commands work where only the client is installed.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from tokentail import __version__
from tokentail.cli import dead, doctor, jobs, servers
from tokentail.shared.errors import ConfigError, TokentailError

#: A setting, file or address is wrong; nothing was started. The supervisor restarts nothing that exits so.
MISCONFIGURED = 2

#: What the system says when standard output leads to a file for which there is no room.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

_SERVER = "pip install 'tokentail[server]'"

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
    _prepare_streams()
    try:
        app()
    except TokentailError as error:
        typer.echo(f"tokentail: {error}", err=True)
        sys.exit(MISCONFIGURED if isinstance(error, ConfigError) else 1)
    except ModuleNotFoundError as error:
        # Of ours, none can be missing; of others, all that the client alone does not need.
        if str(error.name).startswith("tokentail"):
            raise
        typer.echo(f"tokentail: {error.name} is missing; install what a server needs: {_SERVER}", err=True)
        sys.exit(MISCONFIGURED)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        typer.echo(f"tokentail: The output can't be written: {error.strerror}.", err=True)
        # Or the interpreter would try once more to write what is buffered, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)


def _prepare_streams() -> None:
    # Python has None for a stream that was closed by whoever started us (`>&-`).
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    # A model may write what the terminal's encoding has no sign for.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


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
for _module in (servers, jobs, doctor, dead):
    _module.register(app)
