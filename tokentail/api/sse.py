"""Events → bytes, as the protocol's section 3 frames them."""

from __future__ import annotations

import orjson

from tokentail.shared import events

#: Goes out with the headers, also while the job waits: proxies and clients see that the stream is open.
CONNECTED = b": connected\n"

#: One line with ONE newline. A second one would end a block, and after any `id:` httpx-sse and
#: openai-python take an ended block for an empty event.
PING = b": ping\n"

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # no-transform: a proxy that compresses also buffers. X-Accel-Buffering: nginx buffers unless told.
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
]


def block(entry_id: bytes, raw: bytes) -> bytes:
    """One log entry as one block. The event's JSON goes out as the worker wrote it."""
    kind = events.type_of(raw)
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (entry_id, kind.encode(), raw)


def reset(requested: str) -> bytes:
    """The block that makes a follower forget everything. No `id:`: it is not in the log."""
    data = orjson.dumps({"type": "reset", "requested": requested})
    return b"event: reset\ndata: %s\n\n" % data


def retry(milliseconds: int) -> bytes:
    """The wait before reconnecting: a line to stand inside a block, for the reason of PING."""
    return b"retry: %d\n" % milliseconds
