"""What watches the process from outside: a pid file, systemd."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

import structlog

from kvcore.config import Config

DEFAULT_PID_FILE: Final = "/var/run/kvcore.pid"

log = structlog.get_logger("kvcore")


class PidFile:
    """``pidfile``, or a default one of a daemon; it ends with the process."""

    def __init__(self, config: Config) -> None:
        self.path = str(config["pidfile"]) or (DEFAULT_PID_FILE if config["daemonize"] else "")
        self._written = False

    def write(self) -> None:
        """As in Redis, a pid file that cannot be written is no reason not to serve."""
        if not self.path:
            return
        try:
            with open(self.path, "w", encoding="ascii") as file:
                file.write(f"{os.getpid()}\n")
        except OSError as error:
            log.warning("The pid file cannot be written", path=self.path, error=error.strerror)
        else:
            self._written = True

    def remove(self) -> None:
        if self._written:
            with contextlib.suppress(OSError):
                os.unlink(self.path)


def notify(config: Config, state: str) -> None:
    """Tell systemd ``state`` (sd_notify), if ``supervised`` is systemd or auto."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if config["supervised"] not in ("systemd", "auto") or not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # An address that begins with @ is Linux' abstract namespace.
        try:
            sock.sendto(state.encode(), address.replace("@", "\0", 1))
        except OSError as error:
            log.warning("systemd cannot be told", address=address, error=error.strerror)
