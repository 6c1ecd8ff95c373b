"""An arq worker as it comes, with one job: write an entry into a stream, so that its start can be seen."""

from __future__ import annotations

import os
from typing import Any

import uvloop
from arq.connections import RedisSettings
from arq.worker import Worker, func

#: A database of its own, so that nothing of tokentail's is in its way.
DATABASE = 1


def settings(redis_url: str) -> RedisSettings:
    """For both ends of arq."""
    found = RedisSettings.from_dsn(redis_url)
    found.database = DATABASE
    return found


async def begin(ctx: dict[Any, Any], key: str) -> None:
    """The job: say that it has begun."""
    await ctx["redis"].xadd(key, {"e": "begun"})


async def _announce(ctx: dict[Any, Any]) -> None:
    print("arq ready", flush=True)


def main() -> None:
    """Work until told to stop."""
    uvloop.install()
    redis = settings(os.environ["TOKENTAIL_REDIS_URL"])
    Worker([func(begin, name="begin")], redis_settings=redis, on_startup=_announce).run()


if __name__ == "__main__":
    main()
