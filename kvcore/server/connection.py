"""One client connection: bytes in, replies out, in order."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from kvcore.session import Session

if TYPE_CHECKING:
    from kvcore.server.app import Server


class Connection(asyncio.Protocol):
    """Feeds a session; its replies leave at the end of the loop's turn (`Server.end_of_turn`).

    A client that does not read its replies is not read from either: the transport's buffer stays
    bounded, and the kernel tells the client to wait.
    """

    session: Session
    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        refusal = self.server.admit(self, transport)
        if refusal:
            self.transport.write(refusal)
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        session = self.session
        session.receive(data)
        if session.out or session.closing:
            self.server.ready(self)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def take(self) -> bytes:
        """The encoded replies so far; the session starts a new list."""
        out = self.session.out
        data = out[0] if len(out) == 1 else b"".join(out)
        self.session.out = []
        return data

    def send(self, data: bytes, *, close: bool) -> None:
        """Write replies that may leave now."""
        if data:
            self.server.engine.sent += len(data)
            self.transport.write(data)
        if close:
            self.transport.close()

    def kill(self) -> None:
        """CLIENT KILL: drop the connection, whatever it still wanted."""
        self.session.closing = True
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.forget(self)
