"""Logging of the server: pretty on a terminal, one JSON object a line elsewhere."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Final, TextIO, cast

import structlog

from kvcore.config import Config
from kvcore.errors import ConfigError

LEVELS: Final = {
    "debug": logging.DEBUG,
    "verbose": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "nothing": logging.CRITICAL,
}


def configure(config: Config) -> None:
    """Send the log where ``logfile``, ``syslog-enabled`` and ``loglevel`` say; ConfigError."""
    stream = _Stream(config)
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
        wrapper_class=_wrapper(str(config["loglevel"])),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", stream)),
        cache_logger_on_first_use=False,
    )
    config.subscribe("loglevel", lambda level: structlog.configure(wrapper_class=_wrapper(level)))


def _wrapper(level: str) -> Any:
    return structlog.make_filtering_bound_logger(LEVELS[level])


def logger() -> Any:
    return structlog.get_logger("kvcore")


class _Stream(io.TextIOBase):
    """Where lines go. A log that cannot be written must not stop what it tells of."""

    def __init__(self, config: Config) -> None:
        self._text = ""
        self._path = os.path.abspath(config["logfile"]) if config["logfile"] else ""
        self._syslog: Callable[[str], None] | None = None
        if self._path:
            try:
                self._write("")
            except OSError as error:
                raise ConfigError(
                    f"Can't open the log file: {self._path}: {error.strerror}"
                ) from None
        if config["syslog-enabled"]:
            import syslog

            facility = getattr(syslog, f"LOG_{config['syslog-facility'].upper()}")
            syslog.openlog(str(config["syslog-ident"]), syslog.LOG_PID, facility)
            self._syslog = syslog.syslog

    def isatty(self) -> bool:
        return not self._path and sys.stdout.isatty()

    def write(self, text: str) -> int:
        self._text += text
        return len(text)

    def flush(self) -> None:
        """The logger calls it after each line."""
        text, self._text = self._text, ""
        if not text:
            return
        with contextlib.suppress(OSError, ValueError):
            self._write(text)
        if self._syslog is not None:
            self._syslog(text.rstrip("\n"))

    def _write(self, text: str) -> None:
        if self._path:
            # Opened for every line, as Redis does it: it may be moved away to rotate it.
            with open(self._path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        else:
            sys.stdout.write(text)
            sys.stdout.flush()
