"""Plays a script to a client: each token at its time, and whatever else the script has in store."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from typing import Literal

from tokentail.demo.params import Params
from tokentail.demo.reply import Reply
from tokentail.demo.steps import Cut, Fail, Finish, Garbage, Hang, Step, Wait

Ending = Literal["finished", "error", "cut"]

#: Tokens that are due at once go out in writes of at most so many. Larger ones gain nothing, smaller ones
#: cost a system call each.
_TOKENS_PER_WRITE = 64
#: Often enough to defeat any timeout that counts silence on the socket.
_COMMENT_SECONDS = 0.1


class Gates:
    """Named gates that are shut until somebody opens them, and then stay open."""

    def __init__(self) -> None:
        self._gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def open(self, name: str) -> None:
        """Let pass who waits here, and all who come later."""
        self._gates[name].set()

    async def passed(self, name: str) -> None:
        """Return when the gate is open."""
        await self._gates[name].wait()

    def forget(self) -> None:
        """Shut every gate for those who come later; who waits now is let go."""
        for gate in self._gates.values():
            gate.set()
        self._gates.clear()


class _Schedule:
    """When the next token is due. Absolute, so that a stream that fell behind catches up."""

    def __init__(self, params: Params) -> None:
        self._now = asyncio.get_running_loop().time
        self._pace = params.pace_ms / 1000
        self._due = self._now() + params.first_ms / 1000

    def next(self) -> float:
        """Seconds until the next token is due, 0 if it is late. Moves on to the one after it."""
        delay = self._due - self._now()
        self._due += self._pace
        return max(0.0, delay)

    def restart(self) -> None:
        """The next token is due now, whatever was missed."""
        self._due = self._now()


async def play(
    script: Iterator[Step], reply: Reply, params: Params, gates: Gates, most_tokens: int | None
) -> Ending:
    """Play the script to its end, at most `most_tokens` tokens of it.

    Cancelling it is the way to stop it early. After `cut` the connection is still the caller's to drop.
    """
    if params.head:
        await reply.open()
    schedule = _Schedule(params)
    spoken = 0
    for step in script:
        if isinstance(step, dict):
            if spoken == most_tokens:
                reply.finish("length")
                break
            spoken += 1
            if delay := schedule.next():
                await reply.flush()
                await asyncio.sleep(delay)
            elif reply.gathered >= _TOKENS_PER_WRITE:
                await reply.flush()
                # A client that has gone is noticed only when the event loop gets a turn.
                await asyncio.sleep(0)
            reply.say(step)
        elif isinstance(step, Cut):
            await reply.flush()
            return "cut"
        elif isinstance(step, Fail):
            reply.fail(step.message)
            await reply.end(done=False)
            return "error"
        else:
            await _do(step, reply, gates)
            schedule.restart()
    await reply.end(done=params.done)
    return "finished"


async def _do(step: Finish | Wait | Hang | Garbage, reply: Reply, gates: Gates) -> None:
    match step:
        case Finish(reason):
            reply.finish(reason)
        case Garbage(text):
            reply.garbage(text)
        case Wait(gate):
            await reply.flush()
            await gates.passed(gate)
        case Hang(comments):
            await _hang(reply, comments)


async def _hang(reply: Reply, comments: bool) -> None:
    await reply.flush()
    if not comments:
        await asyncio.Event().wait()
    while True:
        reply.comment()
        await reply.flush()
        await asyncio.sleep(_COMMENT_SECONDS)
