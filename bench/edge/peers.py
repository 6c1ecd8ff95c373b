"""The peers of the follow edge: two of our own writing, and how each is started beside ours."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench.edge.cores import SERVER
from bench.edge.feed import Feed
from bench.edge.place import Place
from bench.edge.side import Side

LOOP = "a loop per follower"
BARE = "a bare write"

#: A loop per follower costs so much that all followers would need two cores, and a server that is behind
#: reads many entries at once, which makes it look cheap.
LOOP_SHARE = 0.2


def xread_loop(place: Place) -> Side:
    """One XREAD loop per follower."""
    server = place.run("xread", SERVER, sys.executable, "-m", "bench.peers.xread_loop")
    url = server.wait_for(r"xread on (\S+)")[1]
    return Side(LOOP, server.pid, url, "/v1/jobs/{}/events", place.ours.feed, 1, LOOP_SHARE)


def bare_write(place: Place) -> Side:
    """Ready bytes to every socket."""
    server = place.run("bare write", SERVER, sys.executable, "-m", "bench.peers.bare_write")
    url = server.wait_for(r"bare write on (\S+)")[1]
    return Side(BARE, server.pid, url, "/{}", Feed(server))


def started(place: Place, wanted: list[Callable[[Place], Side]]) -> tuple[list[Side], list[str]]:
    """Those that can be had, and a line for each that can't."""
    sides, missing = [], []
    for start in wanted:
        try:
            sides.append(place.once(start))
        except (FileNotFoundError, RuntimeError) as why:
            missing.append(f"Skipped: {str(why).splitlines()[0]}.")
    return sides, missing
