"""Jobs are refused before Redis is full, and by a Redis that would throw them away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from given import at_work, eventually
from redis.asyncio import Redis

from tokentail.api import watch as watch_module
from tokentail.api.headroom import Headroom
from tokentail.api.servers import Servers
from tokentail.api.watch import Watch
from tokentail.shared import redis as store
from tokentail.shared.errors import NoRoom
from tokentail.shared.one_server import OneServer
from tokentail.shared.settings import Settings
from tokentail.stack.redis_server import RedisServer


class Look:
    """A headroom, and the watch that it hears from."""

    def __init__(self, servers: Servers) -> None:
        self.headroom = Headroom()
        self.watch = Watch(servers, self.headroom)

    async def look(self) -> None:
        await self.watch.look()

    def check(self) -> None:
        self.headroom.check()


@asynccontextmanager
async def headroom_at(url: str, log_url: str | None = None) -> AsyncIterator[tuple[Look, Redis]]:
    """A headroom, and a client of the server that is named last."""
    settings = Settings(redis_url=url, log_redis_url=log_url)
    async with (
        store.client(url) as redis,
        OneServer(settings.log_url) as plane,
        store.client(settings.log_url) as client,
    ):
        yield Look(Servers(redis, plane, settings)), client


@pytest.fixture
def own(new_redis_server: Callable[..., RedisServer]) -> RedisServer:
    """A server whose configuration a test may change."""
    return new_redis_server()


async def fill_to(redis: Redis, share: float) -> None:
    """Set the limit so that this share of it is used."""
    used = (await redis.info("memory"))["used_memory"]
    await redis.config_set("maxmemory", int(used / share))


async def test_a_redis_without_a_limit_is_never_full(own: RedisServer) -> None:
    async with headroom_at(own.url) as (headroom, _):
        await headroom.look()
        headroom.check()


async def test_jobs_are_refused_when_nine_tenths_are_used_and_accepted_when_there_is_room(
    own: RedisServer,
) -> None:
    async with headroom_at(own.url) as (headroom, redis):
        await fill_to(redis, 0.95)
        await headroom.look()
        with pytest.raises(NoRoom, match="nearly out of memory"):
            headroom.check()
        await fill_to(redis, 0.5)
        await headroom.look()
        headroom.check()


async def test_jobs_are_refused_by_a_redis_that_evicts(own: RedisServer) -> None:
    async with headroom_at(own.url) as (headroom, redis):
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await headroom.look()
        with pytest.raises(NoRoom, match="allkeys-lru"):
            headroom.check()


async def test_one_full_plane_is_enough(redis_url: str, own: RedisServer) -> None:
    async with headroom_at(redis_url, own.url) as (headroom, full):
        await fill_to(full, 0.95)
        await headroom.look()
        with pytest.raises(NoRoom):
            headroom.check()


async def test_it_looks_again_and_again_also_while_redis_is_away(
    own: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "LOOK_SECONDS", 0.01)
    async with headroom_at(own.url) as (headroom, redis):
        own.stop()
        async with at_work(headroom.watch.run()):
            await asyncio.to_thread(own.start)
            await fill_to(redis, 0.95)
            await eventually(lambda: headroom.headroom.refusal)


async def test_a_user_who_may_not_ask_is_no_reason_to_refuse_or_to_break(own: RedisServer) -> None:
    # Given a user without the right to ask how full Redis is
    async with store.client(own.url) as redis:
        await redis.acl_setuser(
            "blind", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-info"]
        )
    async with headroom_at(own.url.replace("redis://", "redis://blind:secret@")) as (headroom, _):
        # When it is looked
        await headroom.look()
        # Then jobs are accepted
        headroom.check()
