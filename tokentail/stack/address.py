"""Where the API may listen: checked before anything is started."""

from __future__ import annotations

from ipaddress import ip_address

from tokentail.shared.errors import ConfigError
from tokentail.shared.listening import listen


def refuse_open_door(host: str, auth: str | None) -> None:
    """Raise ConfigError for an address that others can reach, unless the operator wants that.

    There are no API keys to check yet, so the only safe default is to be reachable from this machine alone.
    """
    if auth == "off" or _is_loopback(host):
        return
    raise ConfigError(
        f"Without authentication the API listens on loopback only, not on {host}; "
        "set TOKENTAIL_AUTH=off to open it to everybody who can reach that address."
    )


def reserve_port(host: str, port: int) -> int:
    """The port to listen on, a free one for 0. Raises ConfigError if it can't be had."""
    with listen(host, port) as probe:
        return int(probe.getsockname()[1])


def local_url(host: str, port: int) -> str:
    """How this machine reaches a server that listens there."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    host = everywhere.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
