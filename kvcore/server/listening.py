"""The sockets that clients connect to: opened at once, so that a refusal has a place to go."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from kvcore.errors import ConfigError

ANY: Final = {"*": "0.0.0.0", "::*": "::"}
ACCEPTS: Final = 1000  # connections taken in one turn of the loop, as in Redis
RETRY_S: Final = 1.0  # after running out of file descriptors

log = structlog.get_logger("kvcore")


class Listeners:
    """Every listening socket of the server; ``accepted`` gets each new connection's socket."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, accepted: Callable[[socket.socket], None]
    ) -> None:
        self._loop = loop
        self._accepted = accepted
        self._tcp: list[socket.socket] = []
        self._unix: socket.socket | None = None
        self._unix_path = ""

    @property
    def port(self) -> int:
        """The TCP port; 0 if there is none."""
        return int(self._tcp[0].getsockname()[1]) if self._tcp else 0

    def listen_tcp(self, bind: Iterable[str], port: int, backlog: int) -> None:
        """Listen here from now on, and nowhere else. Raises ConfigError; nothing is open then."""
        self._close(self._tcp)
        self._tcp = []
        self._tcp = open_tcp(bind, port, backlog)
        for sock in self._tcp:
            self._loop.add_reader(sock, self._accept, sock)

    def listen_unix(self, path: str, mode: int, backlog: int) -> None:
        """Listen on a Unix socket; raises ConfigError."""
        self._unix = open_unix(path, mode, backlog)
        self._unix_path = path
        self._loop.add_reader(self._unix, self._accept, self._unix)

    def addresses(self) -> list[str]:
        """What there is, as the log tells it."""
        return ["tcp"] * bool(self._tcp) + ["unix"] * bool(self._unix)

    def close(self) -> None:
        """Stop listening; the Unix socket's file goes as well."""
        self._close(self._tcp)
        self._tcp = []
        if self._unix is not None:
            self._close([self._unix])
            self._unix = None
            with contextlib.suppress(OSError):
                os.unlink(self._unix_path)

    def forget(self) -> None:
        """In a forked child: these sockets are the parent's alone."""
        for sock in (*self._tcp, self._unix):
            if sock is not None:
                with contextlib.suppress(OSError):
                    os.close(sock.fileno())

    def _close(self, sockets: Iterable[socket.socket]) -> None:
        for sock in sockets:
            self._loop.remove_reader(sock)
            sock.close()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                sock, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # No file descriptor is left: asking again at once would only burn time.
                log.error("Error accepting a connection", error=error.strerror)
                self._loop.remove_reader(listener)
                self._loop.call_later(RETRY_S, self._resume, listener)
                return
            sock.setblocking(False)
            self._accepted(sock)

    def _resume(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            self._loop.add_reader(listener, self._accept, listener)


def open_tcp(bind: Iterable[str], port: int, backlog: int) -> list[socket.socket]:
    """Listening sockets for ``bind``, where ``-`` marks an address that may be missing.

    Port 0 means none at all. Raises ConfigError, and nothing is left open then.
    """
    sockets: list[socket.socket] = []
    names = list(bind) if port else []
    try:
        for name in names:
            optional, host = name.startswith("-"), name.removeprefix("-")
            try:
                sockets += _open_host(ANY.get(host, host), port, backlog)
            except OSError as error:
                missing = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
                if not (optional and error.errno in missing):
                    raise _refusal(host, port, error) from None
        if names and not sockets:
            raise ConfigError("none of the addresses of bind can be listened on")
    except ConfigError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _refusal(host: str, port: int, error: OSError) -> ConfigError:
    log.warning(f"Failed listening on port {port} (tcp), aborting.", error=str(error))
    return ConfigError(
        f"cannot listen on {host}:{port}: {error.strerror}; is another server running there? "
        "Choose another port or bind"
    )


def _open_host(host: str, port: int, backlog: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets = []
    for family, kind, protocol, _, address in dict.fromkeys(found):
        sock = socket.socket(family, kind, protocol)
        sockets.append(sock)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            sock.bind(address)
            sock.listen(backlog)
        except OSError:
            for opened in sockets:
                opened.close()
            raise
    return sockets


def open_unix(path: str, mode: int, backlog: int) -> socket.socket:
    """A listening Unix socket whose file has ``mode`` (0: the owner's alone); ConfigError."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
    sock = socket.socket(socket.AF_UNIX)
    # The mode is right before anyone can connect, never wider than asked for (CVE-2023-45145).
    before = os.umask(0o777 & ~(mode or 0o700))
    try:
        sock.setblocking(False)
        sock.bind(path)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot make the Unix socket {path}: {error.strerror or error}"
        ) from None
    finally:
        os.umask(before)
    return sock
