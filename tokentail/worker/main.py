"""One worker process, from its settings to its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os

import orjson
import structlog
import uvloop
from arq.connections import ArqRedis
from redis.asyncio import Redis

from tokentail.shared import logging
from tokentail.shared import redis as store
from tokentail.shared.claim import Claim
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.log import Logs
from tokentail.shared.models import ModelList
from tokentail.shared.queue import Queue
from tokentail.shared.settings import Settings
from tokentail.worker.appender import Appender
from tokentail.worker.attempt import Attempt
from tokentail.worker.model import Models
from tokentail.worker.pool import Pool

logger = structlog.get_logger()


def run(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; returns the exit code. Raises ConfigError before anything started.

    Prints `worker <id> ready` on standard output when it claims jobs.
    """
    logging.configure(settings, os.environ)
    models = ModelList.load(settings.models or ModelList.demo_path())
    if models.ignored_sections:
        logger.warning("parts of the model list are not used", sections=models.ignored_sections)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_work(settings, Models(models, os.environ)))


async def _work(settings: Settings, models: Models) -> int:
    pool = store.pool(settings.redis_url)
    redis = ArqRedis(pool, job_serializer=orjson.dumps, job_deserializer=orjson.loads)
    log_redis = store.client(settings.log_url)
    for client in (redis, log_redis):
        await _answering(client)
    await models.warm_up()
    # litellm brings 370,000 objects that stay. Looking through them, as a full collection does every now and
    # then, stops all streams of the process for 170 ms (measured); from here on they are left out.
    gc.collect()
    gc.freeze()

    logs = Logs(log_redis)
    queue = Queue(redis, settings)
    appender = Appender(store.pool(settings.log_url, timeout_seconds=None), logs)

    def new_attempt(claim: Claim) -> Attempt:
        return Attempt(claim, queue=queue, logs=logs, appender=appender, models=models, settings=settings)

    worker = Pool(
        redis=redis,
        listening=store.client(settings.redis_url),
        queue=queue,
        new_attempt=new_attempt,
        helpers=[appender.run()],
        settings=settings,
        on_ready=_announce,
    )
    try:
        with contextlib.suppress(asyncio.CancelledError):  # How arq's main loop ends.
            await worker.async_run()
    finally:
        await worker.close()
        await models.aclose()
        await log_redis.aclose()
    return 0


async def _answering(redis: Redis) -> None:
    """Wait for a Redis to come up, and say so. Raises ConfigError if it is not one we can use."""
    said = ""
    while True:
        try:
            await store.check(redis)
            return
        except StoreUnavailable as error:
            if str(error) != said:  # Once, not each second of a night without Redis.
                said = str(error)
                logger.warning("waiting for Redis", reason=said)
            await asyncio.sleep(1)


def _announce(worker_id: str) -> None:
    print(f"worker {worker_id} ready", flush=True)
