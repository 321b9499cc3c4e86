"""Logging of the server: pretty on a terminal, one JSON object a line elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog

from kvcore.config import Config

_LEVELS = {
    "debug": logging.DEBUG,
    "verbose": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "nothing": logging.CRITICAL,
}


def configure(config: Config) -> None:
    """Send the log where ``logfile`` and ``loglevel`` say, flushed line by line."""
    path = str(config["logfile"] or "")
    stream: TextIO = open(path, "a", buffering=1) if path else sys.stdout  # noqa: SIM115
    pretty = stream.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=True)
        if pretty
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=False),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[str(config["loglevel"])]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def logger() -> Any:
    return structlog.get_logger("kvcore")
