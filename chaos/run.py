"""One run: load and faults by the plan, then healing, then patience, then the history."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from chaos import observer
from chaos.clients import Clients
from chaos.edge import Edge
from chaos.figures import Figures
from chaos.history import History
from chaos.injector import Injector
from chaos.installation import Installation
from chaos.plan import Plan
from tokentail.shared import tasks

#: From healing to the last ending: a lease, then three tries of a provider that hangs, and a busy machine.
SETTLE_SECONDS = 60.0

#: From the last ending to the last closed connection of the provider.
QUIET_SECONDS = 10.0

#: For the followers, from the last ending on: each comes back every few seconds.
GOODBYE_SECONDS = 20.0

_POLL_SECONDS = 0.1


async def run(installation: Installation, plan: Plan) -> tuple[History, Figures]:
    """Carry out a plan on an installation that is whole, and leave it whole.

    Returns what was observed, also if something never ended: that is for the checker to say.
    """
    await installation.empty()
    history = History()
    edge = Edge(installation.api_urls, history.oddities)
    injector = Injector(installation)
    clients = asyncio.create_task(Clients(edge, history).run(plan))
    watching = asyncio.create_task(observer.watch(installation.direct, history))
    began = time.monotonic()
    try:
        await injector.run(plan.faults)
        await asyncio.sleep(max(0.0, began + plan.seconds - time.monotonic()))
        await _until(lambda: _has_settled(installation), SETTLE_SECONDS)
        await asyncio.wait({clients}, timeout=GOODBYE_SECONDS)
        edge.is_over = True
        await asyncio.wait({clients}, timeout=GOODBYE_SECONDS)
        # A submit may have come through after the first look.
        await _until(lambda: _has_settled(installation), SETTLE_SECONDS)
        await _until(lambda: _is_quiet(installation), QUIET_SECONDS)
        await tasks.end(watching)
        history.incidents = injector.incidents
        history.oddities += injector.oddities
        await observer.collect(installation.direct, edge, history)
        history.provider = await observer.provider(installation.provider_url)
    finally:
        await tasks.end(clients, watching)
        await edge.aclose()
    if not clients.cancelled() and (bug := clients.exception()) is not None:
        raise bug
    return history, Figures.of(plan, history, edge.counts, time.monotonic() - began)


async def _until(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Wait for something, at most so long; whether it came is the checker's to say."""
    deadline = time.monotonic() + seconds
    while True:
        if await condition() or time.monotonic() > deadline:
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _has_settled(installation: Installation) -> bool:
    try:
        return observer.is_settled(await observer.queue(installation.direct))
    except (RedisError, OSError):
        return False


async def _is_quiet(installation: Installation) -> bool:
    return (await observer.provider(installation.provider_url)).open_streams == 0
