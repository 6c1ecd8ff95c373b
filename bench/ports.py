"""Ports of this machine, for servers that can't say which one they took."""

from __future__ import annotations

import socket


def free_port() -> int:
    """One that nobody listens on; whoever wants it should be quick."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
