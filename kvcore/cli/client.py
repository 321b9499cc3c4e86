"""A connection to a running server: requests out, replies in, nothing more."""

from __future__ import annotations

import os
import socket
from typing import Any, BinaryIO, Final
from urllib.parse import unquote, urlsplit

from kvcore.cli.terminal import Unreadable
from kvcore.codec.output import Output
from kvcore.resp import encode2

DEFAULT_PORT: Final = 6379
PASSWORD: Final = "REDISCLI_AUTH"  # the environment's variable, as of redis-cli
_CONNECT_S: Final = 10
_REPLY_S: Final = 300


class Refused(Exception):
    """An error reply; its text is the server's."""


class Connection:
    """To ``HOST:PORT``, ``redis://[[USER]:PASSWORD@]HOST[:PORT]``, or a Unix socket's path.

    Without a password in the address, that of the environment is taken. Raises Unreadable.
    """

    def __init__(self, address: str) -> None:
        user, password, where = _parse(address)
        self.name = where if isinstance(where, str) else f"{where[0]}:{where[1]}"
        try:
            self._socket = self._connect(where)
        except OSError as error:
            raise Unreadable(f"cannot connect to {self.name}: {error.strerror or error}") from error
        self._socket.settimeout(_REPLY_S)
        self._file: BinaryIO = self._socket.makefile("rb")
        if password:
            try:
                self.ask(b"AUTH", *([user.encode()] if user else []), password.encode())
            except Unreadable:
                self.close()
                raise

    def _connect(self, where: str | tuple[str, int]) -> socket.socket:
        if isinstance(where, tuple):
            return socket.create_connection(where, _CONNECT_S)
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(_CONNECT_S)
        try:
            made.connect(where)
        except OSError:
            made.close()
            raise
        return made

    def ask(self, *argv: bytes) -> Any:
        """One request. Raises Unreadable for an error reply."""
        reply = self.ask_all([list(argv)])[0]
        if isinstance(reply, Refused):
            raise Unreadable(f"{self.name} refuses {argv[0].decode()}: {reply}")
        return reply

    def ask_all(self, requests: list[list[bytes]]) -> list[Any]:
        """The replies to several requests; an error reply is a `Refused` among them."""
        out = Output()
        for argv in requests:
            encode2(argv, out)
        try:
            self._socket.sendall(b"".join(out.take()))
            return [self._reply() for _ in requests]
        except OSError as error:
            raise Unreadable(f"the connection to {self.name} broke: {error}") from error

    def _reply(self) -> Any:
        line = self._file.readline()
        mark, text = line[:1], line[1:-2]
        if line[-2:] != b"\r\n":
            raise ConnectionError("it was closed")
        if mark == b"-":
            return Refused(text.decode("utf-8", "replace"))
        if mark == b":":
            return int(text)
        if mark == b"$":
            size = int(text)
            return None if size < 0 else self._file.read(size + 2)[:-2]
        if mark == b"*":
            return [self._reply() for _ in range(int(text))]
        if mark == b"+":
            return text
        raise ConnectionError(f"what answers there is no Redis: {line[:40]!r}")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _parse(address: str) -> tuple[str, str, str | tuple[str, int]]:
    """(user, password, socket or (host, port))."""
    password = os.environ.get(PASSWORD, "")
    if "://" not in address and "/" in address:
        return "", password, address
    parts = urlsplit(address if "://" in address else f"redis://{address}")
    try:
        port = parts.port or DEFAULT_PORT
    except ValueError:
        port = 0
    if parts.scheme != "redis" or not port or parts.path not in ("", "/"):
        raise Unreadable(f"{address!r} is no address; write HOST:PORT, or a socket's path")
    given = unquote(parts.password or "") or password
    return unquote(parts.username or ""), given, (parts.hostname or "127.0.0.1", port)
