"""The files that the system lets this process have open; each client's connection is one."""

from __future__ import annotations

import contextlib
import resource
import sys

import structlog

from tokentail.shared.errors import ConfigError
from tokentail.shared.settings import Settings

#: Kept free of streams: a dozen connections to Redis (with a cluster some to each node), a dozen that Python
#: and its loop hold, and the rest for short requests, probes and refusals while all streams are taken.
OWN_DESCRIPTORS = 128

logger = structlog.get_logger()


def fitted(settings: Settings) -> Settings:
    """The settings with no more streams than there can be descriptors, having raised this process's limit as
    far as it may. Says so if that is less than was wanted; raises ConfigError if it is none at all."""
    files = _raised_limit()
    streams = streams_within(files, settings.max_streams)
    if streams < 1:
        raise ConfigError(f"This process may open {files} files (ulimit -n); it needs {OWN_DESCRIPTORS + 1}.")
    if streams < settings.max_streams:
        logger.warning(
            "fewer streams than TOKENTAIL_MAX_STREAMS: the limit of open files (ulimit -Hn) is too low",
            files=files,
            streams=streams,
            wanted=settings.max_streams,
        )
    return settings.model_copy(update={"max_streams": streams})


def streams_within(files: int, wanted: int) -> int:
    """How many streams a process may serve that may have so many files open."""
    return min(wanted, files - OWN_DESCRIPTORS)


def _raised_limit() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # Where "unlimited" is written there, but not granted.
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
