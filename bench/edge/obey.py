"""What a process does that is told what to do by `feed.py`, in lines of JSON on its standard input."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import orjson


async def obey(doer: Any) -> None:
    """Call the method that each line names, and answer with what it returns. Ends with the standard input."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = orjson.loads(line)
        said = await getattr(doer, command.pop("do"))(**command)
        print(f"did {orjson.dumps(said).decode()}", flush=True)
