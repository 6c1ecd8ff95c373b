"""`tokentail dead`: the jobs that were ended because they kept killing their workers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from tokentail.cli import printing
from tokentail.cli.setting_options import DEAD_PURGE, DEAD_READ, DEAD_REPLAY, with_settings
from tokentail.cli.stack_settings import Data, note_unknown_variables, settings_of

if TYPE_CHECKING:
    from tokentail.shared.dead_letters import DeadLetters
    from tokentail.shared.job import Record
    from tokentail.shared.settings import Settings

_T = TypeVar("_T")

#: More than a person reads; a list of dead letters this long is about something else than single jobs.
_ALL = 10_000

_DATA = Path(".tokentail")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", show_default=False)]
JobIds = Annotated[
    list[str] | None,
    typer.Argument(metavar="[JOB]...", help="Ids of jobs, from `dead list`.", show_default=False),
]
Every = Annotated[bool, typer.Option("--all", help="All dead letters that there are.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

_NONE = "There are no dead letters."

# The help page keeps every line break.
_HELP = (
    "Jobs that were ended because they kept killing their workers.\n\n"
    "Such a job is ended as `failed` with the code `worker_lost`. It is kept, with what the user wrote, as a "
    "dead letter for a week (TOKENTAIL_DEAD_TTL_SECONDS): `list` finds it, `show` tells what was asked, "
    "`replay` submits it again once the cause is mended, `purge` deletes it.\n\n"
    "These commands talk to Redis, not to the API: name the one that your API and workers use."
)

dead = typer.Typer(no_args_is_help=True, help=_HELP)


def register(app: typer.Typer) -> None:
    """Add `dead`."""
    app.add_typer(dead, name="dead")


@dead.command("list")
@with_settings(*DEAD_READ)
def list_letters(
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
    as_json: Json = False,
    data: Data = _DATA,
    **settings: str | None,
) -> None:
    """List dead letters, newest first; with --json one a line."""
    records = _with_letters(settings_of(settings, data), lambda letters: letters.list(limit))
    if as_json:
        for record in records:
            printing.print_json(_summary(record))
    elif records:
        _print_table(records)
    else:
        printing.note(_NONE)


@dead.command()
@with_settings(*DEAD_READ)
def show(job_id: JobId, as_json: Json = False, data: Data = _DATA, **settings: str | None) -> None:
    """Show a dead letter with its request, which holds what the user wrote."""
    letter = _with_letters(settings_of(settings, data), lambda letters: letters.get(job_id))
    whole = {**_summary(letter.record), "request": letter.request}
    printing.print_json(whole, pretty=not as_json)


@dead.command()
@with_settings(*DEAD_REPLAY)
def replay(
    job_ids: JobIds = None,
    every: Every = False,
    data: Data = _DATA,
    **settings: str | None,
) -> None:
    """Submit requests again as new jobs, and take the letters off the list."""
    _refuse_unclear(job_ids, every)

    async def each(letters: DeadLetters) -> None:
        for job_id in await _chosen(letters, job_ids, every):
            typer.echo(f"{job_id} runs again as {(await letters.replay(job_id)).id}")

    _with_letters(settings_of(settings, data), each)


@dead.command()
@with_settings(*DEAD_PURGE)
def purge(
    job_ids: JobIds = None,
    every: Every = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --all deletes them.")] = False,
    data: Data = _DATA,
    **settings: str | None,
) -> None:
    """Delete dead letters with all that is stored of their jobs: records, requests and logs."""
    _refuse_unclear(job_ids, every)
    if every and not yes and not sys.stdin.isatty():
        raise typer.BadParameter("nobody can be asked here; say --yes, too", param_hint="--all")

    async def each(letters: DeadLetters) -> None:
        chosen = await _chosen(letters, job_ids, every)
        if every and chosen and not yes:
            typer.confirm(f"Delete {_count(chosen)} for good?", abort=True, err=True)
        for job_id in chosen:
            await letters.purge(job_id)
            typer.echo(f"{job_id} is deleted.")

    _with_letters(settings_of(settings, data), each)


def _refuse_unclear(job_ids: list[str] | None, every: bool) -> None:
    if every and job_ids:
        raise typer.BadParameter("name jobs or say --all, not both", param_hint="JOB")
    if not every and not job_ids:
        raise typer.BadParameter("name jobs, or say --all", param_hint="JOB")


async def _chosen(letters: DeadLetters, job_ids: list[str] | None, every: bool) -> list[str]:
    if not every:
        return list(job_ids or ())
    found = [record.id for record in await letters.list(_ALL)]
    if not found:
        printing.note(_NONE)
    return found


def _count(chosen: list[str]) -> str:
    return "one dead letter" if len(chosen) == 1 else f"{len(chosen)} dead letters"


def _with_letters(settings: Settings, deed: Callable[[DeadLetters], Awaitable[_T]]) -> _T:
    note_unknown_variables()

    async def do() -> _T:
        async with _letters(settings) as letters:
            return await deed(letters)

    return asyncio.run(do())


@asynccontextmanager
async def _letters(settings: Settings) -> AsyncIterator[DeadLetters]:
    from tokentail.shared import redis as store  # noqa: PLC0415
    from tokentail.shared.dead_letters import DeadLetters  # noqa: PLC0415
    from tokentail.shared.log import Logs  # noqa: PLC0415
    from tokentail.shared.planes import data_plane  # noqa: PLC0415
    from tokentail.shared.queue import Queue  # noqa: PLC0415

    async with store.client(settings.redis_url) as redis, data_plane(settings.log_url) as plane:
        yield DeadLetters(redis, Queue(redis, settings), Logs(plane))


def _summary(record: Record) -> dict[str, Any]:
    from tokentail.shared.job import rfc3339  # noqa: PLC0415

    return {
        "id": record.id,
        "model": record.model,
        "tenant": record.tenant,
        "metadata": record.metadata,
        "created_at": rfc3339(record.created),
        "ended_at": rfc3339(record.ended),
        "attempts": record.attempt,
        "crashes": record.crashes,
        "lost_workers": record.lost_workers,
    }


def _print_table(records: list[Record]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("job", "model", "ended", "crashes", "lost workers", box=None, pad_edge=False)
    for record in records:
        ended = datetime.fromtimestamp(record.ended / 1000).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(record.id, record.model, ended, str(record.crashes), " ".join(record.lost_workers))
    # An id is there to be copied: no cell is ever shortened.
    Console(markup=False, highlight=False, width=1000).print(table)
