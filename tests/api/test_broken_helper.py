"""An API process that lost one of its helpers ends in order, so that its supervisor brings another."""

from __future__ import annotations

import sys

import httpx
from processes import Running

_CODE = """
import sys
from tokentail.api import overdue
from tokentail.api.server import serve
from tokentail.shared.settings import Settings

async def broken(self):
    raise ValueError("a bug")

overdue.LOOK_SECONDS = 0.5
overdue.Overdue.look = broken
sys.exit(serve(Settings(redis_url=sys.argv[1]), host="127.0.0.1", port=0))
"""


def test_it_ends_its_streams_says_why_and_exits_with_an_error(redis_url: str) -> None:
    # Given a process one of whose helpers is about to break, and a client whose stream it serves
    api = Running([sys.executable, "-c", _CODE, redis_url])
    try:
        url = api.wait_for(r"api on (\S+)")[1]
        body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
        job = httpx.post(f"{url}/v1/jobs", json=body).json()
        with httpx.stream("GET", url + job["links"]["events"]) as stream:
            # When it breaks; Then the stream ends cleanly
            stream.read()
        # And the process ends with an error and one line that says why, not with a heap of tracebacks
        assert api.wait() == 1
        assert "a helper broke down" in api.said
        assert "Traceback" not in api.said
    finally:
        api.close()
