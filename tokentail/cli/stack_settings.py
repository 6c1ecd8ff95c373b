"""Settings of the commands that look into Redis: from options, the environment, or the stack of `up`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tokentail.shared.settings import Settings

Data = Annotated[
    Path,
    typer.Option(
        metavar="DIR", help="If no Redis URL is given: the data directory of a running `tokentail up`."
    ),
]


def settings_of(options: dict[str, str | None], data: Path) -> Settings:
    """The settings; without a Redis URL those of the stack that was last started on `data`, if any."""
    from tokentail.shared.settings import Settings  # noqa: PLC0415
    from tokentail.stack.redis_server import embedded_url  # noqa: PLC0415

    if options["redis_url"] is None and "TOKENTAIL_REDIS_URL" not in os.environ:
        options = {**options, "redis_url": embedded_url(data / "redis")}
    return Settings.load(**options)


def note_unknown_variables() -> None:
    """Say on stderr which variables look like settings and are none."""
    from tokentail.cli import printing  # noqa: PLC0415
    from tokentail.shared.settings import unknown_variables  # noqa: PLC0415

    for name in unknown_variables(os.environ):
        printing.note(f"{name} is no setting and changes nothing.", dim=False)
