"""One way to log: structlog to standard error; readable on a terminal, JSON lines elsewhere.

Never logged: prompts, completions, keys, tokens, URLs with queries.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

import structlog

from tokentail.shared.settings import Settings, unknown_variables


def configure(settings: Settings, environ: Mapping[str, str]) -> None:
    """Set the process's logging up, and warn of variables that are no settings. Called once, by the entry
    points."""
    number = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(
        stream=sys.stderr, level=max(number, logging.WARNING), format="%(levelname)s %(message)s"
    )
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        # In one write for each line, which `print` makes two of where nothing gathers them: several processes
        # write to one place, and lines would run together.
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    if unknown := unknown_variables(environ):
        structlog.get_logger().warning("variables are no settings", names=unknown)
