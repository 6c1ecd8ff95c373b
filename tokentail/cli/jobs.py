"""The client commands: submit, follow, get, list, cancel, delete.

They end with 0 when all went well, 1 when it did not (the job failed, the server refused or can't be
reached), 2 when the command line or an address is wrong, 3 when the job was cancelled, and 130 on Ctrl-C.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from tokentail.cli import following, printing
from tokentail.shared.errors import TokentailError

if TYPE_CHECKING:
    from tokentail.client import Client

Url = Annotated[
    str | None,
    typer.Option(envvar="TOKENTAIL_URL", help="The server's address.", show_default="http://127.0.0.1:8000"),
]
Key = Annotated[str | None, typer.Option(envvar="TOKENTAIL_KEY", help="The API key, if the server has any.")]
Prompt = Annotated[
    str | None, typer.Argument(help="What to ask; '-' or nothing reads it from stdin.", show_default=False)
]
Metadata = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="Kept with the job; may be repeated.")
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def register(app: typer.Typer) -> None:
    """Add the client commands."""
    app.command()(submit)
    app.command()(follow)
    app.command()(get)
    app.command("list")(list_jobs)
    app.command()(cancel)
    app.command()(delete)


def submit(
    prompt: Prompt = None,
    *,
    model: Annotated[
        str, typer.Option("--model", "-m", help="An alias from the server's model list.")
    ] = "demo",
    system: Annotated[str | None, typer.Option(help="The system message.")] = None,
    temperature: Annotated[float | None, typer.Option(help="How freely the model chooses.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="How long the answer may get.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Submitting again with the same key finds the same job.")
    ] = None,
    metadata: Metadata = None,
    detach: Annotated[
        bool, typer.Option("--detach", "--no-follow", "-d", help="Print only the job's id and be done.")
    ] = False,
    as_json: Json = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Submit a job and print its answer as it comes.

    Ctrl-C leaves the job running and says how to follow it again.

    Exit codes: 1 the job failed or could not be followed, 3 it was cancelled, 130 Ctrl-C.
    """
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": _prompt(prompt)})
    pairs = _pairs(metadata or [])
    with connected(url, key) as client:
        job = client.submit(
            model,
            messages,
            idempotency_key=idempotency_key,
            metadata=pairs,
            temperature=temperature,
            max_tokens=max_tokens,
        )
        if not detach:
            printing.note(f"job {job.id}")
            following.follow(client, job.id, None, as_json=as_json, url=url)
        elif as_json:
            printing.print_json(job.raw)
        else:
            typer.echo(job.id)


def follow(
    job_id: JobId,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Show only what comes after this entry.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print a job's answer, from its beginning, as it comes; with --json its events, one a line."""
    with connected(url, key) as client:
        if after is None:
            # Asks once and without patience, so that a wrong address or id is told at once.
            client.get(job_id)
        following.follow(client, job_id, after, as_json=as_json, url=url)


def get(
    job_id: JobId,
    wait: Annotated[
        int | None, typer.Option(min=0, max=60, metavar="SECONDS", help="Wait so long for the ending.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print a job as it is now."""
    with connected(url, key) as client:
        job = client.get(job_id, wait=wait)
    if as_json:
        printing.print_json(job.raw, pretty=sys.stdout.isatty())
    else:
        printing.print_job(job)


def list_jobs(
    *,
    status: Annotated[
        str | None, typer.Option(help="Only jobs that are queued, running, completed, failed or cancelled.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many at most.", show_default=False)] = None,
    after: Annotated[str | None, typer.Option(help="Go on after an earlier list.")] = None,
    as_json: Json = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List jobs, newest first; with --json one a line."""
    with connected(url, key) as client:
        page = client.list(status=status, limit=limit, after=after)
    if as_json:
        for job in page:
            printing.print_json(job.raw)
    else:
        printing.print_jobs(page)
    if page.next:
        printing.note(f"There are more: --after {page.next}")


def cancel(job_id: JobId, as_json: Json = False, url: Url = None, key: Key = None) -> None:
    """Cancel a job. One that has ended stays as it is."""
    with connected(url, key) as client:
        job = client.cancel(job_id)
    if as_json:
        printing.print_json(job.raw)
    elif job.ended:
        typer.echo(f"Job {job.id} is {job.status}.")
    else:
        typer.echo(f"Job {job.id} is being cancelled.")


def delete(job_id: JobId, url: Url = None, key: Key = None) -> None:
    """Delete a job with all that is stored of it. One that is running is cancelled first."""
    with connected(url, key) as client:
        client.delete(job_id)
    typer.echo(f"Job {job_id} is deleted.")


@contextmanager
def connected(url: str | None, key: str | None) -> Iterator[Client]:
    """A client of the server that the command line names."""
    # `--help` and the commands that serve need no httpx, and start without it in half the time.
    from orjson import JSONEncodeError  # noqa: PLC0415

    from tokentail.client import Client, ConnectionLost, ServerUnreachable  # noqa: PLC0415

    _tell_of_waits()
    with Client(url, key) as client:
        try:
            yield client
        except ConnectionLost:
            raise
        except (UnicodeEncodeError, JSONEncodeError):
            raise TokentailError("The command line is not UTF-8 text.") from None
        except ServerUnreachable as error:
            raise TokentailError(f"{error} Start one with: tokentail up") from error


def _tell_of_waits() -> None:
    # The client says there when it waits to ask again; a person who sees nothing happen wants to know.
    logger = logging.getLogger("tokentail.client")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("tokentail: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _prompt(given: str | None) -> str:
    if given is not None and given != "-":
        if given.strip():
            return given
        raise typer.BadParameter("it is empty; say what to ask", param_hint="PROMPT")
    if given is None and sys.stdin.isatty():
        raise typer.BadParameter("say what to ask, or pipe it in", param_hint="PROMPT")
    try:
        text = sys.stdin.buffer.read().decode().strip()
    except UnicodeDecodeError:
        raise typer.BadParameter("stdin is not UTF-8 text", param_hint="PROMPT") from None
    if text:
        return text
    raise typer.BadParameter("there is nothing on stdin", param_hint="PROMPT")


def _pairs(written: list[str]) -> dict[str, str] | None:
    pairs = {}
    for one in written:
        name, equals, value = one.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{one!r} is not written as NAME=VALUE", param_hint="--metadata")
        pairs[name] = value
    return pairs or None
