"""Every setting as a command-line option, written once.

This knows the settings' names only: importing `Settings` costs 0.2 s and needs the server's packages, and
`tokentail submit` has neither to spare. A test keeps the two lists equal.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

_PANEL = "Settings (also read from TOKENTAIL_<NAME>)"

#: Setting → what stands for its value, and what it is for.
SETTINGS = {
    "redis_url": ("URL", "Redis of the queue and the job records. [redis://127.0.0.1:6379/0]"),
    "log_redis_url": ("URL", "Redis of the logs. [the same]"),
    "wait_replicas": ("N", "Replicas that have a job, or an ending, before it is acknowledged. [0]"),
    "models": ("FILE", "The model list, in the LiteLLM proxy's format. [the demo models]"),
    "concurrency": ("JOBS", "Jobs that a worker process runs at once. [20]"),
    "lease_seconds": ("SECONDS", "How long a dead worker's jobs stay with it. [10]"),
    "drain_seconds": ("SECONDS", "How long running jobs may go on after SIGTERM. [20; up: 3]"),
    "api_drain_seconds": ("SECONDS", "How long the API takes to end its streams after SIGTERM. [5; up: 0]"),
    "max_attempts": ("N", "Tries of the provider before a job fails. [3]"),
    "first_token_seconds": ("SECONDS", "Longest wait for the first delta. [120]"),
    "idle_seconds": ("SECONDS", "Longest pause between two deltas. [60]"),
    "deadline_seconds": ("SECONDS", "From submit to ending. [1800]"),
    "queue_seconds": ("SECONDS", "From submit to the first start. [600]"),
    "log_ttl_seconds": ("SECONDS", "How long a log is kept after its ending. [3600]"),
    "record_ttl_seconds": ("SECONDS", "How long a job and its result are kept. [86400]"),
    "dead_ttl_seconds": ("SECONDS", "How long a dead letter and its request are kept. [604800]"),
    "max_queue": ("JOBS", "Queued jobs at which submit is refused. [10000]"),
    "max_log_bytes": ("BYTES", "The largest log of a job; longer answers fail. [16777216]"),
    "max_request_bytes": ("BYTES", "The largest body of a submit. [10485760]"),
    "max_tail_bytes": ("BYTES", "What an API process keeps in memory of followed logs. [268435456]"),
    "max_streams": ("N", "Streams that an API process serves at once. [10000]"),
    "max_job_streams": ("N", "Of these, of one job. [5000]"),
    "max_tenant_streams": ("N", "Of these, of one tenant. [10000]"),
    "ping_seconds": ("SECONDS", "Silence after which a follower gets a comment. [15]"),
    "stream_seconds": ("SECONDS", "Longest life of a follower's connection. [600]"),
    "send_seconds": ("SECONDS", "How long a follower may take nothing. [20]"),
    "auth": ("off", "Serve on any address, to anybody. [loopback only]"),
    "log_level": ("LEVEL", "debug, info, warning or error. [info]"),
}

REDIS = ("redis_url", "log_redis_url", "wait_replicas")
_BOTH = (
    "models",
    "lease_seconds",
    "max_attempts",
    "log_ttl_seconds",
    "record_ttl_seconds",
    "dead_ttl_seconds",
    "log_level",
)
_API_ONLY = (
    *("api_drain_seconds", "deadline_seconds", "queue_seconds", "max_queue", "max_request_bytes"),
    *("max_tail_bytes", "max_streams", "max_job_streams", "max_tenant_streams"),
    *("ping_seconds", "stream_seconds", "send_seconds", "auth"),
)
_WORKER_ONLY = ("concurrency", "drain_seconds", "first_token_seconds", "idle_seconds", "max_log_bytes")

API = (*REDIS, *_BOTH, *_API_ONLY)
WORKER = (*REDIS, *_BOTH, *_WORKER_ONLY)
#: `up` brings its own Redis, which has no replica.
UP = (*_BOTH, *_WORKER_ONLY, *_API_ONLY)
DOCTOR = (*REDIS, "models")
#: Records and requests of dead letters are in the queue's Redis.
DEAD_READ = ("redis_url",)
DEAD_PURGE = REDIS
#: Replayed jobs are new ones. Their logs begin when a worker claims them.
DEAD_REPLAY = ("redis_url", "wait_replicas", "deadline_seconds", "queue_seconds", "max_queue")


def with_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each of these settings; it gets them, None if absent, as `**settings`.

    The values stay text: `Settings.load` parses them as it parses the environment, with the same sentences.
    """

    def add(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters.values()
        kept = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
        parameters = [*kept, *(_parameter(name) for name in names)]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return add


def _parameter(name: str) -> inspect.Parameter:
    metavar, help_text = SETTINGS[name]
    option: Any = typer.Option(
        f"--{name.replace('_', '-')}",
        metavar=metavar,
        help=help_text.replace("[", r"\["),
        show_default=False,
        rich_help_panel=_PANEL,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )
