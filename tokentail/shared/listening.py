"""Addresses to listen on: had, or refused with a sentence."""

from __future__ import annotations

import errno
import socket
import sys

from tokentail.shared.errors import ConfigError

#: Connections that wait to be accepted. A restart brings all followers back within seconds; the system cuts
#: this down to its own limit (net.core.somaxconn, 4096 on today's Linux).
BACKLOG = 2048

#: What the system may hold unsent for one client. Left to itself it takes megabytes, of text that a client
#: that stopped reading will ask for again; this is what a fast client takes in a round trip of 10 ms.
UNSENT_BYTES = 128 * 1024


def listen_for_each(count: int, host: str, port: int) -> list[socket.socket]:
    """A listening socket for each of so many processes that serve one address. Raises ConfigError.

    Linux deals connections out to them. From a single one whoever is idle takes them, and that is the same
    process again and again: streams that come one by one would all be served by one core.
    """
    if sys.platform != "linux":
        return [listen(host, port)] * count
    listen(host, port).close()  # A socket that shares would also share with another server of ours.
    first = _listen(host, port, is_shared=True)
    port = first.getsockname()[1]
    return [first, *(_listen(host, port, is_shared=True) for _ in range(count - 1))]


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ConfigError if the address can't be had."""
    return _listen(host, port, is_shared=False)


def _listen(host: str, port: int, *, is_shared: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Not socket.create_server: it adds to the system's plain reason, and people read that.
        listener = socket.socket(family, kind, protocol)
        try:
            # Connections of an earlier run that still linger do not count as taken.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except socket.gaierror:
        raise ConfigError(f"{host} is not a host name or address of this machine.") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(f"Port {port} on {host} is taken; choose another with --port.") from None
        raise ConfigError(f"Can't listen on {host}, port {port}: {error.strerror or error}.") from None
    return listener


def bound_unsent(listener: socket.socket) -> None:
    """Have the system take no more than UNSENT_BYTES for a client beyond what is on its way.

    Connections inherit it from their listener. A system that does not know the option takes what it likes.
    """
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        listener.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)


def url_of(listener: socket.socket) -> str:
    """Its address as people and clients write it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
