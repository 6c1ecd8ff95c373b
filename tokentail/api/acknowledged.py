"""What the other end of a connection has acknowledged, as the system knows it."""

from __future__ import annotations

import socket
import struct
import sys

#: Where Linux's `struct tcp_info` says how much is under way, how much waits for that, and how much was
#: acknowledged since the connection began.
_INFO_BYTES = 192
_UNACKED, _ACKED, _NOTSENT = 24, 120, 144


def acknowledged(connection: socket.socket) -> int | None:
    """How many bytes in all; None if that is everything, if the connection is closed, or if the system does
    not tell."""
    if sys.platform != "linux":
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return None
    if len(info) < _NOTSENT + 4:
        return None
    (unacked,), (notsent,) = struct.unpack_from("I", info, _UNACKED), struct.unpack_from("I", info, _NOTSENT)
    return struct.unpack_from("Q", info, _ACKED)[0] if unacked or notsent else None
