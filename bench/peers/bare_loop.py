"""The least that a process can do with litellm's stream: read it and drop it.

Takes `<streams> <scenario>` on standard input, runs that many at once, prints `done <tokens>`.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from bench.peers.call import completion
from bench.scenarios import MESSAGES


async def _count(scenario: str) -> int:
    tokens = 0
    async for chunk in await completion(scenario, MESSAGES):
        if chunk.choices and chunk.choices[0].delta.content:
            tokens += 1
    return tokens


async def _serve() -> None:
    print("bare ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        streams, scenario = line.split()
        tokens = await asyncio.gather(*(_count(scenario) for _ in range(int(streams))))
        print(f"done {sum(tokens)}", flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
