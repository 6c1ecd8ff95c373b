"""The commands that serve: the whole stack, or one of its parts."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from tokentail.cli.setting_options import API, UP, WORKER, with_settings

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
    from tokentail.stack.up import Plan, up  # noqa: PLC0415

    options = {name: value for name, value in settings.items() if value is not None}
    raise typer.Exit(up(Plan(host, port, workers, data.absolute(), redis_server, options)))


@with_settings(*API)
def api(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
    **settings: str | None,
) -> None:
    """Run the HTTP API."""
    from tokentail.shared.settings import Settings  # noqa: PLC0415
    from tokentail.stack.address import refuse_open_door, reserve_port  # noqa: PLC0415

    # What may be refused is checked before the import that takes most of a second.
    loaded = Settings.load(**settings)
    refuse_open_door(host, loaded.auth)
    reserve_port(host, port)
    from tokentail.api.server import serve  # noqa: PLC0415

    raise typer.Exit(serve(loaded, host=host, port=port, workers=workers))


@with_settings(*WORKER)
def worker(**settings: str | None) -> None:
    """Run one worker process."""
    from tokentail.shared.settings import Settings  # noqa: PLC0415

    loaded = Settings.load(**settings)
    from tokentail.worker.main import run  # noqa: PLC0415

    code = run(loaded)
    # All is closed. Taking litellm's 160 MB apart would hold up a deploy for another second of CPU.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def demo_provider(host: Host = "127.0.0.1", port: Port = 8001) -> None:
    """Run the demo provider: an OpenAI-compatible server whose models are scenarios."""
    from tokentail.demo.provider import run  # noqa: PLC0415

    raise typer.Exit(run(host, port))
