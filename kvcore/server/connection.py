"""One client connection: bytes in, replies out, in order.

A client that does not read its replies is not read from either, so its output stays bounded: the
transport holds a block or two, ``backlog`` the rest of what one turn of the loop can make (see
`kvcore.session.FULL`), large values as references, not as copies.
``client-output-buffer-limit`` closes it earlier, if configured.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, cast

import structlog

from kvcore.reply import Later
from kvcore.session import Session, size_of

if TYPE_CHECKING:
    from kvcore.server.app import Server

BLOCK: Final = 256 * 1024
"""Bytes that are joined and given to the transport at a time."""
MOST_HELD: Final = 4 << 20
"""Bytes of replies that may wait for the disk before the client has to wait as well."""

log = structlog.get_logger("kvcore")


class Connection:
    """Feeds a session; its replies leave at the end of the loop's turn (`Server.end_of_turn`).

    An `asyncio.Protocol` in all but name: compiled, it can have no uncompiled base.

    ``backlog``  pieces of replies that wait for the transport
    ``full``     the transport holds more than it likes
    ``stopped``  the client is not read from
    ``held``     bytes that wait for a commit to become durable
    ``awaited``  the reply that its client waits for, or waited for last
    ``ended``    the client sends nothing more, but may still read
    ``closed``   the transport takes nothing more, because we closed it or it is gone
    """

    session: Session
    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server
        self.backlog: deque[bytes] = deque()
        self.full = False
        self.stopped = False
        self.held = 0
        self.ended = False
        self.closing = False
        self.closed = False
        self.awaited: Later | None = None
        self.over_soft_limit_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            _tune(sock, int(self.server.config["tcp-keepalive"]))
        refusal = self.server.admit(self, transport)
        if refusal:
            self.session.closing = True
            self.transport.write(refusal)
            self.close()

    # In ---------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        session = self.session
        session.receive(data)
        if session.out or session.closing:
            self.server.ready(self)
        if session.waiting:
            self._stop_reading()
        if session.blocked is not None:
            self._await(session.blocked)

    def _await(self, later: Later) -> None:
        """See to it that the reply for which the client waits leaves in time."""
        if later is self.awaited:
            return
        self.awaited = later
        if later.future is not None:
            later.future.add_done_callback(functools.partial(self._wake, later))
        if later.seconds:
            self.server.loop.call_later(later.seconds, self._unblock, later)

    def _wake(self, later: Later, future: Future[None]) -> None:
        """It may be another thread that has done what was waited for."""
        with contextlib.suppress(RuntimeError):  # the loop may be closed already
            self.server.loop.call_soon_threadsafe(self._unblock, later)

    def _unblock(self, later: Later) -> None:
        if self.session.blocked is later:  # neither gone nor answered before
            self.session.unblock()
            self.data_received(b"")  # what the client sent behind it

    def proceed(self) -> None:
        """If all replies so far are with the transport: close, run what waited, or read on."""
        session = self.session
        if self.backlog or self.transport.is_closing():
            return
        if session.blocked is not None and not self.closing:
            return
        if self.closing or (self.ended and not (session.waiting or session.out or self.held)):
            self.close()
        elif self.full or self.held > MOST_HELD:
            return
        elif session.waiting:
            session.receive(b"")
            self.server.ready(self)
            if session.blocked is not None:
                self._await(session.blocked)
        elif not self.ended:
            self.stopped = False
            self.transport.resume_reading()

    def _stop_reading(self) -> None:
        self.stopped = True
        self.transport.pause_reading()

    def eof_received(self) -> bool:
        # Replies to what came before it still leave; `send` closes behind them.
        self.ended = True
        later = self.session.blocked
        if later is not None and later.future is None and not later.seconds:
            self.session.closing = True  # nothing else would ever end the wait
        self.server.ready(self)
        return True

    # Out --------------------------------------------------------------------------------------

    def hold(self, out: list[bytes]) -> None:
        """These replies wait for a commit to become durable."""
        self.held += size_of(out)
        if self.held > MOST_HELD and not self.transport.is_closing():
            self._stop_reading()

    def release(self, out: list[bytes]) -> None:
        """They wait no longer; `send` follows."""
        was_stopped = self.held > MOST_HELD
        self.held -= size_of(out)
        if was_stopped:
            self.server.loop.call_soon(self.proceed)

    def send(self, out: list[bytes], close: bool) -> None:
        """Write replies that may leave now, and close behind them if ``close``."""
        # Not `transport.is_closing`, which is a call for each reply: where a write has failed, and
        # `connection_lost` is on its way, the transport drops what it is given.
        if self.closed:
            return
        if close:
            self.closing = True
        single = len(out) == 1
        size = len(out[0]) if single else size_of(out)
        server = self.server
        engine = server.engine
        engine.sent += size
        engine.writes += 1
        if self.backlog or size > BLOCK:
            self.backlog.extend(out)
            self._drain()
        elif size:
            self.transport.write(out[0] if single else b"".join(out))
        if server.limited:
            self.check_limits(time.monotonic())
        if self.closing or self.ended or self.stopped:
            server.loop.call_soon(self.proceed)

    def _drain(self) -> None:
        """Give the transport blocks of the backlog until it has enough."""
        transport, backlog = self.transport, self.backlog
        while backlog and not transport.is_closing() and transport.get_write_buffer_size() < BLOCK:
            block = []
            size = 0
            while backlog and size < BLOCK:
                block.append(backlog.popleft())
                size += len(block[-1])
            transport.write(b"".join(block))
        if transport.is_closing():
            return
        if not backlog:
            self.server.loop.call_soon(self.proceed)
            return
        self._stop_reading()
        if not self.full:
            # uvloop writes at the end of the turn, and pauses us only if it keeps something.
            self.server.loop.call_soon(self._drain)

    def pause_writing(self) -> None:
        self.full = True
        self._stop_reading()

    def resume_writing(self) -> None:
        self.full = False
        self._drain()

    def unsent(self) -> int:
        """Bytes of replies that wait for the client to read."""
        waiting = sum(map(len, self.backlog))
        try:
            return waiting + self.transport.get_write_buffer_size()
        except RuntimeError:  # uvloop's, once it is closed
            return waiting

    def check_limits(self, now: float) -> None:
        """Close a client that is over ``client-output-buffer-limit``; ``now`` is monotonic."""
        hard, soft, seconds = self.server.limits
        size = self.unsent()
        if not soft or size <= soft:
            self.over_soft_limit_since = 0.0
        elif not self.over_soft_limit_since:
            self.over_soft_limit_since = now
        since = self.over_soft_limit_since
        if (hard and size > hard) or (since and now - since > seconds):
            log.warning(
                "Client closed for overcoming of output buffer limits.",
                client=self.session.address,
                id=self.session.id,
                bytes=size,
            )
            self.kill()

    # The end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection behind what the transport has taken."""
        self.closed = True
        self.transport.close()

    def kill(self) -> None:
        """CLIENT KILL: drop the connection, whatever it still wanted."""
        self.session.closing = True
        self.closed = True
        self.backlog.clear()
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.backlog.clear()
        self.server.forget(self)


def _tune(sock: socket.socket, keepalive: int) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not keepalive:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # As Redis: first probe after the interval, then three, a third of it apart.
    for name, value in (
        ("TCP_KEEPIDLE", keepalive),
        ("TCP_KEEPINTVL", max(1, keepalive // 3)),
        ("TCP_KEEPCNT", 3),
    ):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
