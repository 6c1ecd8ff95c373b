"""What both drivers know about httpx: addresses, timeouts, and what its errors mean here."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import Any

import httpx

from tokentail import __version__
from tokentail.client.errors import ConnectionLost, ServerUnreachable
from tokentail.client.steps import Reply, Request
from tokentail.shared.errors import ConfigError

DEFAULT_URL = "http://127.0.0.1:8000"

#: Errors that mean that nothing was sent.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the server is and how to talk to it."""

    url: str
    key: str | None
    timeout_seconds: float
    silence_seconds: float

    def options(self) -> dict[str, Any]:
        """The arguments of an httpx client."""
        headers = {"user-agent": f"tokentail/{__version__}"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        return {
            "base_url": self.url,
            "headers": headers,
            # A follower holds its connection for as long as a job takes, so a bound on connections would
            # be a bound on followers, and the 101st would wait for nothing.
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20),
            # Loading the certificates takes a tenth of a second. Over plain http nobody asks for them, and
            # redirects are not followed.
            "verify": httpx.URL(self.url).scheme == "https",
            # A company's proxy can't reach this machine's loopback, but httpx would ask it to.
            "trust_env": not _is_loopback(self.url),
        }

    def arguments(self, request: Request, *, stream: bool = False) -> dict[str, Any]:
        """The arguments of httpx's `build_request`."""
        read = self.silence_seconds if stream else self.timeout_seconds + request.hold_seconds
        return {
            "method": request.method,
            "url": request.path,
            "params": dict(request.params) or None,
            "headers": dict(request.headers),
            "content": request.body,
            "timeout": httpx.Timeout(self.timeout_seconds, read=read),
        }

    def meaning_of(self, error: httpx.RequestError) -> ServerUnreachable:
        """Our error for httpx's."""
        reason = str(error) or type(error).__name__
        if isinstance(error, _NOT_SENT):
            return ServerUnreachable(f"No tokentail server can be reached at {self._shown_url} ({reason}).")
        return ConnectionLost(f"The connection to {self._shown_url} was lost ({reason}).")

    @property
    def _shown_url(self) -> str:
        # It goes into logs, and may hold a password for something in front of the server.
        return str(httpx.URL(self.url).copy_with(userinfo=b"")) if "@" in self.url else self.url


def connection(
    url: str | None, key: str | None, timeout_seconds: float, silence_seconds: float
) -> Connection:
    """Fill in what was not given from the environment. Raises ConfigError for an address that is none."""
    url = url or os.environ.get("TOKENTAIL_URL") or DEFAULT_URL
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"{url!r} is not the address of a server ({error}).") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigError(f"{url!r} is not the address of a server; write it like {DEFAULT_URL}.")
    key = key or os.environ.get("TOKENTAIL_KEY")
    if key and not (key.isascii() and key.isprintable()):
        raise ConfigError("The API key has something in it that is not printable ASCII.")
    return Connection(url, key, timeout_seconds, silence_seconds)


def reply_from(response: httpx.Response, body: bytes = b"") -> Reply:
    """What our side needs of a response."""
    return Reply(
        response.status_code, {name.lower(): value for name, value in response.headers.items()}, body
    )


def _is_loopback(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
