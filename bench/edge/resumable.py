"""resumable-stream: the library behind the Vercel AI SDK's resumable chats. `make bench-peers` fetches it."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.edge.cores import REST, SERVER
from bench.edge.feed import Feed
from bench.edge.place import Place
from bench.edge.side import Side

NAME = "resumable-stream"

#: It sends every event to every follower through Redis, one by one: with all followers Redis and the feed
#: would take more of their core than there is.
SHARE = 0.5

_FOLDER = Path(__file__).parents[1] / "peers" / "resumable_stream"


def side(place: Place) -> Side:
    """Start it with its feed. Raises FileNotFoundError and RuntimeError if it can't be had."""
    node = shutil.which("node")
    if node is None or not (_FOLDER / "node_modules").exists():
        raise FileNotFoundError("resumable-stream is not there (`make bench-peers` fetches it, with Node)")
    script = str(_FOLDER / "server.js")
    server = place.run("resumable", SERVER, node, script)
    url = server.wait_for(r"resumable on (\S+)")[1]
    feed = place.run("resumable feed", REST, node, script)
    feed.wait_for("resumable on")
    return Side(NAME, server.pid, url, "/{}", Feed(feed), share=SHARE)
