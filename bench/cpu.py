"""Worker CPU per token: a real `tokentail worker` beside a process that only reads litellm's stream.

User and system time of the whole process over whole generations: of ours that includes the claim, the
lease, the log and the ending, of the peer's litellm's work at the end of a stream. Not counted: what the API
and Redis spend on the same tokens. The peer reads through litellm's own wrapper, which the worker goes
around.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median

from bench import scenarios
from bench.effort import Effort
from bench.jobs import Jobs
from bench.processes import SETTLE_SECONDS, Process
from bench.report import Aim, Row
from bench.stack import Stack


@dataclass(frozen=True, slots=True)
class _Load:
    name: str
    streams: int
    scenario: str
    tokens: int


async def measure(stack: Stack, effort: Effort) -> tuple[list[Row], list[str]]:
    """Rows and notes."""
    loads = [
        _Load(
            f"worker CPU per token, {effort.paced_streams} streams at 30/s",
            effort.paced_streams,
            scenarios.paced(effort),
            effort.paced_streams * effort.paced_tokens,
        ),
        _Load(
            "worker CPU per token, one at full speed",
            1,
            scenarios.flat_out(effort),
            effort.flat_out_tokens,
        ),
    ]
    jobs = Jobs(stack.redis_url)
    rows, notes = [], []
    try:
        for load in loads:
            row, note = await _compare(stack, jobs, load, effort.cpu_rounds)
            rows.append(row)
            notes.append(note)
    finally:
        await jobs.aclose()
    return rows, [
        "Worker CPU: user and system time of the process per token, whole generations. The peer is a bare "
        f"`async for chunk in await litellm.acompletion(stream=True)`. Ranges: {'; '.join(notes)}."
    ]


async def _compare(stack: Stack, jobs: Jobs, load: _Load, rounds: int) -> tuple[Row, str]:
    ours, peer = [], []
    # The first round makes connections and warms code: thrown away.
    for number in range(rounds + 1):
        a = await _per_token(stack.worker, load, lambda: _ours(jobs, load))
        b = await _per_token(stack.bare, load, lambda: _bare(stack.bare, load))
        if number:
            ours.append(a)
            peer.append(b)
    row = Row(load.name, "µs", median(ours), median(peer), (rounds, rounds), Aim("ratio", 1.15))
    ranges = f"{min(ours):.0f}-{max(ours):.0f} beside {min(peer):.0f}-{max(peer):.0f} µs"
    return row, ranges


async def _per_token(process: Process, load: _Load, run: Callable[[], Awaitable[None]]) -> float:
    before = process.cpu_seconds()
    await run()
    await asyncio.sleep(SETTLE_SECONDS)
    return (process.cpu_seconds() - before) / load.tokens * 1e6


async def _ours(jobs: Jobs, load: _Load) -> None:
    submitted = await jobs.start(load.scenario, load.streams)
    await jobs.idle()
    await jobs.completed(submitted, load.tokens // load.streams)


async def _bare(process: Process, load: _Load) -> None:
    process.tell(f"{load.streams} {load.scenario}")
    counted = await asyncio.to_thread(process.wait_for, r"done (\d+)")
    if int(counted[1]) != load.tokens:
        raise RuntimeError(f"The bare loop got {counted[1]} tokens instead of {load.tokens}.")
