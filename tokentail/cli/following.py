"""Following a job on the terminal: print as it comes, and end with an exit code that says how it ended."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import typer

from tokentail.cli import printing

if TYPE_CHECKING:
    from tokentail.client import Client
    from tokentail.shared.cursor import Cursor

EXIT_FAILED = 1
EXIT_CANCELLED = 3
EXIT_INTERRUPTED = 130


class _Shown:
    """Up to where everything has been printed. Only that can be left out when following again."""

    def __init__(self, after: str | None) -> None:
        self.cursor: Cursor | str | None = after


def follow(client: Client, job_id: str, after: str | None, *, as_json: bool, url: str | None) -> None:
    """Print a job's answer, or with `as_json` its events, to the ending.

    Exits with 1 when the job failed, 3 when it was cancelled. On Ctrl-C, or when the server stays away,
    it says how to go on and exits with 130 or 1; the job is not touched.
    """
    from tokentail.client import ServerUnreachable  # noqa: PLC0415 - see `jobs.connected`

    shown = _Shown(after)
    try:
        if as_json:
            _print_events(client, job_id, shown)
        else:
            _print_text(client, job_id, shown)
    except KeyboardInterrupt:
        printing.note(f"The job keeps running. {_how_to_go_on(job_id, shown, url)}", dim=False)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except ServerUnreachable as error:
        printing.note(f"tokentail: {error} {_how_to_go_on(job_id, shown, url)}", dim=False)
        raise typer.Exit(EXIT_FAILED) from None


def _print_events(client: Client, job_id: str, shown: _Shown) -> None:
    ending = None
    for entry in client.events(job_id, shown.cursor):
        printing.print_entry(entry)
        shown.cursor, ending = entry.cursor, entry.event["type"]
    # Whoever follows from the ending itself is sent nothing.
    _exit_as(ending or client.get(job_id).status)


def _print_text(client: Client, job_id: str, shown: _Shown) -> None:
    from tokentail.client import JobCancelled, JobFailed  # noqa: PLC0415

    printer = printing.Printer()
    try:
        _print_generation(client, job_id, shown, printer)
    except (JobFailed, JobCancelled) as error:
        printing.note(f"tokentail: {error}", dim=False)
        _exit_as("failed" if isinstance(error, JobFailed) else "cancelled")
    finally:
        printer.break_off()


def _print_generation(client: Client, job_id: str, shown: _Shown, printer: printing.Printer) -> None:
    from tokentail.client import LogExpired  # noqa: PLC0415

    try:
        with client.follow(job_id, shown.cursor) as generation:
            for item in generation:
                printer.show(item)
                shown.cursor = generation.cursor
            printer.finish(generation.result_so_far)
            generation.result()
    except LogExpired:
        if shown.cursor is not None:
            raise
        printer.show_whole(client.result(job_id))


def _exit_as(ending: str) -> None:
    code = {"failed": EXIT_FAILED, "cancelled": EXIT_CANCELLED}.get(ending, 0)
    if code:
        raise typer.Exit(code)


def _how_to_go_on(job_id: str, shown: _Shown, url: str | None) -> str:
    command = ["tokentail", "follow", job_id]
    if shown.cursor is not None:
        command += ["--after", str(shown.cursor)]
    if url and url != os.environ.get("TOKENTAIL_URL"):
        command += ["--url", url]
    return f"Follow it again: {shlex.join(command)}"
