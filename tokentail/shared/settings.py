"""One frozen `Settings`, read once at start and passed on. Only entry points read the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tokentail.shared import redis_url
from tokentail.shared.errors import ConfigError

PREFIX = "TOKENTAIL_"

Seconds = Annotated[float, Field(gt=0, le=86_400 * 30)]


def _redis_url(url: str) -> str:
    scheme = redis_url.scheme_of(url)
    if scheme in redis_url.SENTINEL:
        redis_url.parse_sentinel(url)
    elif scheme in redis_url.ONE_SERVER:
        redis_url.check_one_server(url)
    elif scheme in redis_url.CLUSTER:
        raise ValueError(
            "can't be a cluster: the queue is kept whole on one primary, which redis+sentinel:// makes "
            "highly available; a cluster can hold the logs (TOKENTAIL_LOG_REDIS_URL)"
        )
    else:
        raise ValueError("must start with redis://, rediss://, unix:// or redis+sentinel://")
    return url


def _log_redis_url(url: str) -> str:
    scheme = redis_url.scheme_of(url)
    if scheme in redis_url.CLUSTER:
        redis_url.parse_cluster(url)
        return url
    if scheme in (*redis_url.ONE_SERVER, *redis_url.SENTINEL):
        return _redis_url(url)
    raise ValueError("must start with redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://")


RedisUrl = Annotated[str, AfterValidator(_redis_url)]
LogRedisUrl = Annotated[str, AfterValidator(_log_redis_url)]


class Settings(BaseSettings):
    """How one process behaves. Every field is the environment variable TOKENTAIL_<FIELD>.

    The worker and the API of one installation should agree on all of it; a job keeps the limits that
    stood in the API's settings when it was submitted where the field says so.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid")

    #: Control plane: queue, leases, records. One primary, alone or behind sentinels.
    redis_url: RedisUrl = "redis://127.0.0.1:6379/0"
    #: Data plane: the logs. The same server unless told otherwise; may be a cluster.
    log_redis_url: LogRedisUrl | None = None

    #: Replicas that must have a job, and an ending, before it is acknowledged: what is acknowledged then
    #: survives a failover. 0 waits for none: a failover may lose what came in the moment before it.
    wait_replicas: Annotated[int, Field(ge=0, le=100)] = 0

    #: The model list; the demo models when absent.
    models: Path | None = None

    #: Jobs that one worker process runs at once. Streaming is mostly waiting, but each token costs the
    #: process about 0.3 ms of CPU in litellm: 20 streams at 50 tokens/s use a third of a core.
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 20

    #: How long a claimed job may go without renewal. Long enough that a restart or failover of Redis
    #: (seconds) loses no job, short enough that a reader waits out a crash.
    lease_seconds: Annotated[float, Field(ge=0.5, le=600)] = 10.0
    #: How long SIGTERM waits for running jobs. Ten seconds below the 30 s after which Kubernetes (and our
    #: compose file) kill, so that what remains can be handed back.
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 20.0

    #: Over how long an API process that was told to stop ends its streams; all the while it listens, answers
    #: short requests, and says that it is not ready. 5,000 clients come back a thousand a second, a balancer
    #: that probes every other second notices, and there is time left of the 10 s after which Docker kills.
    api_drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 5.0

    #: Tries of the provider before a job fails. Crashes and handoffs do not count.
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    #: From calling the provider to its first delta. Reasoning models may think for more than a minute.
    first_token_seconds: Seconds = 120.0
    #: Between two deltas. A healthy stream has no pause of this length.
    idle_seconds: Seconds = 60.0
    #: From submit to ending, waiting included; kept with the job at submit.
    deadline_seconds: Seconds = 1800.0

    #: From submit to the first claim: who has waited longer for a first word has gone. Kept with the job.
    queue_seconds: Seconds = 600.0

    #: Retention after the ending: the log with the request body, and the record with the result.
    log_ttl_seconds: Seconds = 3600.0
    record_ttl_seconds: Seconds = 86_400.0

    #: Retention of dead letters with their requests: what happens on a Friday is looked at on a Monday.
    dead_ttl_seconds: Seconds = 7 * 86_400.0

    #: Depth of the queue at which submit is refused.
    max_queue: Annotated[int, Field(ge=1)] = 10_000
    #: The largest log of one job, all its attempts together: 300,000 tokens and more. A worker keeps as much
    #: for each job that it runs.
    max_log_bytes: Annotated[int, Field(ge=1024)] = 16 * 1024 * 1024
    #: The largest body of a submit: room for a few images, no room to fill Redis with one request.
    max_request_bytes: Annotated[int, Field(ge=1024, le=512 * 1024 * 1024)] = 10 * 1024 * 1024

    #: What an API process keeps in memory of the logs that its clients follow, all together. Beyond that, who
    #: is behind reads from Redis again.
    max_tail_bytes: Annotated[int, Field(ge=1024)] = 256 * 1024 * 1024
    #: Streams that one API process serves at once. Each takes ten kilobytes and a descriptor; so many are
    #: 100 MB, and one event for all of them is a tenth of a second of work.
    max_streams: Annotated[int, Field(ge=1)] = 10_000
    #: And of one job. A job has a reader or two, an audience at most: whoever opens streams in a loop must
    #: not take the whole process.
    max_job_streams: Annotated[int, Field(ge=1)] = 5_000
    #: And of one tenant. As many as there are, for without keys everybody is the same one.
    max_tenant_streams: Annotated[int, Field(ge=1)] = 10_000
    #: Silence after which a follower gets a comment; idle cut-offs of proxies begin at 55 s.
    ping_seconds: Seconds = 15.0
    #: Age at which a follower's connection is ended cleanly (jittered by a tenth): load balancers even out.
    stream_seconds: Seconds = 600.0
    #: A follower that takes nothing for this long is cut off, whether it is slow, stuck or dead.
    send_seconds: Seconds = 20.0

    #: "off" lets the API listen on other addresses than loopback without authentication.
    auth: Literal["off"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="after")
    def _record_outlives_log(self) -> Settings:
        if self.record_ttl_seconds < self.log_ttl_seconds:
            raise ValueError("TOKENTAIL_RECORD_TTL_SECONDS must not be below TOKENTAIL_LOG_TTL_SECONDS")
        return self

    @property
    def log_url(self) -> str:
        """Where the logs live."""
        return self.log_redis_url or self.redis_url

    @classmethod
    def load(cls, **options: Any) -> Settings:
        """Read the environment; options that are not None win over it.

        Raises ConfigError with one sentence that names each setting that is wrong.
        """
        given = {name: value for name, value in options.items() if value is not None}
        try:
            return cls(**given)
        except ValidationError as error:
            raise ConfigError(" ".join(_sentence(problem) for problem in error.errors())) from None


#: Variables with our prefix that are no settings: of clients, and of the demo models.
_OTHER_VARIABLES = {"TOKENTAIL_URL", "TOKENTAIL_KEY", "TOKENTAIL_DEMO_URL"}


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none; an operator should hear of a typing error."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _OTHER_VARIABLES
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def _sentence(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return f"{message}."
    name = str(problem["loc"][0])
    # A URL may hold a password.
    given = "" if name.endswith("url") else f" (it is {problem['input']!r})"
    return f"{PREFIX}{name.upper()}: {message}{given}."
