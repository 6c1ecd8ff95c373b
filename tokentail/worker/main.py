"""One worker process, from its settings to its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Awaitable, Callable

import orjson
import structlog
import uvloop
from arq.connections import ArqRedis

from tokentail.shared import logging
from tokentail.shared import redis as store
from tokentail.shared.claim import Claim
from tokentail.shared.errors import StoreUnavailable
from tokentail.shared.log import Logs
from tokentail.shared.models import ModelList
from tokentail.shared.planes import data_plane
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
    plane = data_plane(settings.log_url)
    await _answering(lambda: store.check(redis))
    await _answering(plane.check)
    await models.warm_up()
    # litellm brings 370,000 objects that stay. Looking through them, as a full collection does every now and
    # then, stops all streams of the process for 170 ms (measured); from here on they are left out.
    gc.collect()
    gc.freeze()

    logs = Logs(plane, wait_replicas=settings.wait_replicas)
    queue = Queue(redis, settings)
    appender = Appender(plane, logs)

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
        await plane.aclose()
    return 0


async def _answering(check: Callable[[], Awaitable[None]]) -> None:
    """Wait for a Redis to come up, and say so. Raises ConfigError if it is not one we can use."""
    said = ""
    while True:
        try:
            await check()
            return
        except StoreUnavailable as error:
            if str(error) != said:  # Once, not each second of a night without Redis.
                said = str(error)
                logger.warning("waiting for Redis", reason=said)
            await asyncio.sleep(1)


def _announce(worker_id: str) -> None:
    print(f"worker {worker_id} ready", flush=True)
