"""The client commands: submit, follow, get, list, cancel, delete."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the client commands."""
