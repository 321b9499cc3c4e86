"""The server: listens, turns the loop, keeps time, and leaves as Redis does.

One turn of the loop: every connection that has data runs its commands and queues its replies
(`ready`); then one `flush` for all of them, then the replies (`end_of_turn`). Where the policy
needs time to make a commit durable (``appendfsync always``), the replies of that turn and of all
later ones wait behind it in order, while other clients are read: a group commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import stat
import sys
from collections import deque
from concurrent.futures import Future
from typing import Final

import structlog

from kvcore.errors import ConfigError, KvcoreError, PersistenceError
from kvcore.instance import Instance
from kvcore.load import LoadAborted
from kvcore.server.connection import Connection

PROTECTED: Final = (
    b"-DENIED kvcore is running in protected mode because protected mode is enabled and no "
    b"password is set for the default user. In this mode connections are only accepted from the "
    b"loopback interface. To accept others: set a password (requirepass), or bind to chosen "
    b"addresses, or turn protected-mode off.\r\n"
)
TOO_MANY: Final = b"-ERR max number of clients reached\r\n"
HERTZ: Final = 10

log = structlog.get_logger("kvcore")

Turn = tuple[Future[None] | None, list[tuple[Connection, bytes, bool]]]


class Server:
    """Serves one instance until a signal, SHUTDOWN or a fatal error; see `run`."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.engine = instance.engine
        self.config = instance.config
        self.connections: dict[int, Connection] = {}
        self._pending: list[Connection] = []
        self._held: deque[Turn] = deque()
        self._servers: list[asyncio.base_events.Server] = []
        self._sockets: list[socket.socket] = []
        self._exit: asyncio.Future[int]
        self._signals = 0

    async def run(self) -> int:
        """Listen, load, serve; returns the exit code."""
        self._loop = asyncio.get_running_loop()
        self._exit = self._loop.create_future()
        instance = self.instance
        instance.on_shutdown = lambda: self._leave(0)
        instance.on_fatal = lambda reason: self._leave(1)
        instance.on_fork.append(self._close_sockets_in_child)
        instance.lock()
        try:
            await self._listen()
            for name in ("SIGTERM", "SIGINT"):
                self._loop.add_signal_handler(
                    getattr(signal, name), self._on_signal, getattr(signal, name)
                )
            log.info("Server initialized")
            await self._load()
            if self._exit.done():
                return self._exit.result()
            for name in self._addresses():
                log.info(f"Ready to accept connections {name}")
            self._tick()
            return await self._exit
        finally:
            await self._close()
            instance.release()

    async def _load(self) -> None:
        # On a thread, so that clients are answered meanwhile: LOADING, and INFO's progress.
        load = self._loop.run_in_executor(None, self.instance.load)
        try:
            await load
        except LoadAborted:
            self._leave(0)

    # Listening --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        port = int(self.config["port"])
        backlog = int(self.config["tcp-backlog"])
        self.instance.port = port
        if port:
            bound = 0
            for pattern in list(self.config["bind"]):
                optional = pattern.startswith("-")
                host = pattern.lstrip("-")
                host = {"*": "0.0.0.0", "::*": "::"}.get(host, host)
                try:
                    server = await self._loop.create_server(
                        lambda: Connection(self), host, port, backlog=backlog
                    )
                except OSError as error:
                    missing = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
                    if optional and missing:
                        continue
                    log.warning(
                        f"Failed listening on port {port} (tcp), aborting.", error=str(error)
                    )
                    raise ConfigError(
                        f"cannot listen on {host}:{port}: {error.strerror or error}; is another "
                        "server running there? Choose another port or bind"
                    ) from None
                bound += 1
                self._servers.append(server)
            if not bound:
                raise ConfigError("none of the addresses of bind can be listened on")
        path = str(self.config["unixsocket"] or "")
        if path:
            self._servers.append(await self._listen_unix(path, backlog))
        if not self._servers:
            raise ConfigError("nothing to listen on: set port or unixsocket")

    async def _listen_unix(self, path: str, backlog: int) -> asyncio.base_events.Server:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(path).st_mode):
                os.unlink(path)
        sock = socket.socket(socket.AF_UNIX)
        mode = int(str(self.config["unixsocketperm"] or 0), 8)
        # The mode is right before anyone can connect: never wider than asked for.
        before = os.umask(0o777 & ~mode if mode else 0o077)
        try:
            sock.bind(path)
        except OSError as error:
            sock.close()
            raise ConfigError(f"cannot make the socket {path}: {error.strerror}") from None
        finally:
            os.umask(before)
        return await self._loop.create_unix_server(
            lambda: Connection(self), sock=sock, backlog=backlog
        )

    def _addresses(self) -> list[str]:
        found = []
        if self.config["port"]:
            found.append("tcp")
        if self.config["unixsocket"]:
            found.append("unix")
        return found

    def admit(self, connection: Connection, transport: asyncio.BaseTransport) -> bytes:
        """Make the session of a new connection; returns what to say if it is refused."""
        instance = self.instance
        instance.connections_received += 1
        session = instance.new_session()
        connection.session = session
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if isinstance(peer, tuple):
            session.address = f"{peer[0]}:{peer[1]}"
            session.local_address = f"{own[0]}:{own[1]}"
        else:
            path = str(self.config["unixsocket"] or "")
            session.address = session.local_address = f"{path}:0"
        sock = transport.get_extra_info("socket")
        session.fd = sock.fileno() if sock is not None else -1
        session.kill = connection.kill
        limit = int(self.config["maxclients"])
        if len(self.connections) >= limit:
            instance.rejected_connections += 1
            return TOO_MANY
        if isinstance(peer, tuple) and self._is_protected() and not _is_loopback(peer[0]):
            instance.rejected_connections += 1
            return PROTECTED
        self.connections[session.id] = connection
        instance.clients[session.id] = session
        for observer in instance.connected:
            observer(session)
        return b""

    def _is_protected(self) -> bool:
        return bool(self.config["protected-mode"]) and not self.config["requirepass"]

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        session = connection.session
        if self.connections.pop(session.id, None) is None:
            return
        self.instance.clients.pop(session.id, None)
        session.closing = True
        session.close()
        for observer in self.instance.disconnected:
            observer(session)

    # The turn of the loop ---------------------------------------------------------------------

    def ready(self, connection: Connection) -> None:
        """This connection has replies: they leave at the end of this turn."""
        if not self._pending:
            self._loop.call_soon(self.end_of_turn)
        self._pending.append(connection)

    def end_of_turn(self) -> None:
        """One flush for every command of this turn, then (once it is durable) their replies."""
        durable = self.engine.flush()
        pending = self._pending
        self._pending = []
        if durable is None and not self._held:
            for connection in pending:
                connection.send(connection.take(), close=connection.session.closing)
            return
        self._held.append((durable, [(c, c.take(), c.session.closing) for c in pending]))
        if durable is not None:
            durable.add_done_callback(self._durable)

    def _durable(self, future: Future[None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be closed already
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        while self._held:
            durable, replies = self._held[0]
            if durable is not None:
                if not durable.done():
                    return
                error = durable.exception()
                if error is not None:
                    # These replies promise what is not on disk: they must never leave.
                    log.critical("A commit did not become durable", error=str(error))
                    self._leave(1)
                    return
            self._held.popleft()
            for connection, data, close in replies:
                connection.send(data, close=close)

    # Time -------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._exit.done():
            return
        self._loop.call_later(1 / HERTZ, self._tick)
        try:
            self.instance.cron()
        except (KvcoreError, OSError) as error:
            log.error("Housekeeping failed", error=str(error))
        self.end_of_turn()
        self._close_idle()

    def _close_idle(self) -> None:
        timeout = int(self.config["timeout"])
        if timeout:
            now = self.engine.keyspace.now / 1000
            for connection in list(self.connections.values()):
                if now - connection.session.last_active > timeout:
                    connection.kill()

    # Leaving ----------------------------------------------------------------------------------

    def _on_signal(self, number: signal.Signals) -> None:
        self._signals += 1
        if number == signal.SIGINT and self._signals > 1:
            log.warning("You insist... exiting now.")
            os._exit(1)
        log.warning(f"Received {number.name} scheduling shutdown...")
        instance = self.instance
        if instance.loading:
            instance.loader.abort.set()
            return
        how = str(self.config[f"shutdown-on-{number.name.lower()}"])
        save = True if "save" in how.split() else False if "nosave" in how.split() else None
        try:
            instance.shutdown(save, force="force" in how.split())
        except PersistenceError as error:
            log.error("Error trying to save the DB, can't exit", error=str(error))
            self._signals = 0
            return
        self._leave(0)

    def _leave(self, code: int) -> None:
        if not self._exit.done():
            self._exit.set_result(code)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for connection in list(self.connections.values()):
            connection.transport.abort()
        await asyncio.sleep(0)
        path = str(self.config["unixsocket"] or "")
        if path:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _close_sockets_in_child(self) -> None:
        """A snapshot's child must not keep the port or the clients of a parent that dies."""
        for server in self._servers:
            for sock in server.sockets:
                with contextlib.suppress(OSError):
                    os.close(sock.fileno())
        for connection in self.connections.values():
            with contextlib.suppress(OSError):
                os.close(connection.session.fd)


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host in ("::1", "::ffff:127.0.0.1")


def main_loop(server: Server) -> int:
    """Run the server on uvloop where there is one, on asyncio elsewhere."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(server.run())
    if sys.version_info >= (3, 12):
        return asyncio.run(server.run(), loop_factory=uvloop.new_event_loop)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(server.run())
