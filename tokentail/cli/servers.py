"""The commands that serve: the whole stack, or one of its parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tokentail.cli.setting_options import API, UP, WORKER, with_settings
from tokentail.shared.errors import ConfigError, TokentailError

#: A setting or file is wrong; nothing was started. The supervisor does not restart what exits with it.
MISCONFIGURED = 2

Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")]


def register(app: typer.Typer) -> None:
    """Add `up`, `api`, `worker` and `demo-provider`."""
    app.command()(up)
    app.command()(api)
    app.command()(worker)
    app.command("demo-provider")(demo_provider)


@with_settings(*UP)
def up(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Where jobs and logs are kept.")] = Path(
        ".tokentail"
    ),
    redis_server: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The redis-server to run.", show_default="the first on PATH"),
    ] = None,
    **settings: str | None,
) -> None:
    """Run everything on this machine: Redis, API, workers and, without a model list, a demo provider."""

    def run() -> int:
        from tokentail.stack.up import Plan, up  # noqa: PLC0415

        options = {name: value for name, value in settings.items() if value is not None}
        return up(Plan(host, port, workers, data.absolute(), redis_server, options))

    exit_with(run)


@with_settings(*API)
def api(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
    **settings: str | None,
) -> None:
    """Run the HTTP API."""

    def run() -> int:
        from tokentail.shared.settings import Settings  # noqa: PLC0415
        from tokentail.stack.address import refuse_open_door, reserve_port  # noqa: PLC0415

        loaded = Settings.load(**settings)
        refuse_open_door(host, loaded.auth)
        reserve_port(host, port)
        from tokentail.api.server import serve  # noqa: PLC0415

        return serve(loaded, host=host, port=port, workers=workers)

    exit_with(run)


@with_settings(*WORKER)
def worker(**settings: str | None) -> None:
    """Run one worker process."""

    def run() -> int:
        from tokentail.shared.settings import Settings  # noqa: PLC0415

        loaded = Settings.load(**settings)
        from tokentail.worker.main import run as run_worker  # noqa: PLC0415

        return run_worker(loaded)

    exit_with(run)


def demo_provider(host: Host = "127.0.0.1", port: Port = 8001) -> None:
    """Run the demo provider: an OpenAI-compatible server whose models are scenarios."""

    def run() -> int:
        from tokentail.demo.provider import run as run_provider  # noqa: PLC0415

        return run_provider(host, port)

    exit_with(run)


def exit_with(run: Callable[[], int]) -> None:
    """End the command with the code that `run` returns; an error of ours is one sentence on stderr."""
    try:
        code = run()
    except ConfigError as error:
        typer.echo(f"tokentail: {error}", err=True)
        code = MISCONFIGURED
    except TokentailError as error:
        typer.echo(f"tokentail: {error}", err=True)
        code = 1
    raise typer.Exit(code)
