"""The server: listens, turns the loop, keeps time, and leaves as Redis does.

One turn of the loop: every connection that has data runs its commands and queues its replies
(`ready`); then one `flush` for all of them, then the replies (`end_of_turn`). Where the policy
needs time to make a commit durable (``appendfsync always``), the replies of that turn and of all
later ones wait behind it in order, while other clients are read: a group commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections import deque
from concurrent.futures import Future
from typing import Any, Final, cast

import structlog

from kvcore.engine import SHELL
from kvcore.errors import ConfigError, PersistenceError
from kvcore.freeing import REST_S
from kvcore.instance import Instance
from kvcore.load import LoadAborted
from kvcore.server.connection import Connection
from kvcore.server.listening import Listeners
from kvcore.server.supervision import PidFile, notify

PROTECTED: Final = (
    b"-DENIED kvcore is running in protected mode because protected mode is enabled and no "
    b"password is set for the default user. In this mode connections are only accepted from the "
    b"loopback interface. To accept others, set a password (requirepass) or turn protected-mode "
    b"off.\r\n"
)
TOO_MANY: Final = b"-ERR max number of clients reached\r\n"
LEAVING: Final = b"-ERR the server is shutting down\r\n"
NO_LIMITS: Final = (0, 0, 0)
RESERVED_FILES: Final = 32  # file descriptors that are not clients'

log = structlog.get_logger("kvcore")

# The replies of one turn: pieces for each connection, and whether it is closed behind them.
Replies = list[tuple[Connection, list[bytes], bool]]


class Server:
    """Serves one instance until a signal, SHUTDOWN or a fatal error; see `run`.

    ``restart_after``  seconds after which whoever ran it shall start it again; -1: not at all
    ``limits``  (hard bytes, soft bytes, seconds) of client-output-buffer-limit normal
    """

    loop: asyncio.AbstractEventLoop
    listeners: Listeners

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.engine = instance.engine
        self.config = instance.config
        self.connections: dict[int, Connection] = {}
        self.limits = NO_LIMITS
        self.limited = False
        self._connecting: set[asyncio.Task[Any]] = set()
        self._pending: list[Connection] = []
        self._held: deque[tuple[Future[None] | None, Replies]] = deque()
        self._exit: asyncio.Future[int]
        self._interrupts = 0
        self._trouble = ""
        self._failed = False
        self._closing = False
        self._freeing = False  # the next slice is due
        self.restart_after = -1.0

    async def run(self) -> int:
        """Listen, load, serve; returns the exit code. Raises KvcoreError if it cannot start."""
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(_log_exception)
        self._exit = self.loop.create_future()
        self.listeners = Listeners(self.loop, self._accepted)
        self._take_part()
        self.instance.lock()
        pid_file = PidFile(self.config)
        try:
            self._handle_signals()
            self._listen()
            pid_file.write()
            log.warning("Server initialized")
            await self._load()
            if self._exit.done():
                return self._exit.result()
            for name in self.listeners.addresses():
                log.info(f"Ready to accept connections {name}")
            _spare_collector()
            notify(self.config, "READY=1\nSTATUS=Ready to accept connections")
            self._tick()
            return await self._exit
        finally:
            notify(self.config, "STOPPING=1")
            await self._close()
            self.instance.release()
            pid_file.remove()

    def _take_part(self) -> None:
        instance = self.instance
        instance.on_shutdown = lambda: self._leave(0)
        instance.on_restart = self._restart
        instance.on_fatal = lambda reason: self._leave(1)
        instance.on_fork.append(self._close_sockets_in_child)

    async def _load(self) -> None:
        # On a thread, so that clients are answered meanwhile: LOADING, and INFO's progress.
        load = self.loop.run_in_executor(None, self.instance.load)
        try:
            await load
        except LoadAborted:
            self._leave(0)
        else:
            if self.instance.loader.abort.is_set():  # it was too late to stop the load
                self.instance.shutdown(False)
                self._leave(0)

    # Configuration ----------------------------------------------------------------------------

    def _listen(self) -> None:
        """Open the sockets, and follow the options that the server serves."""
        config = self.config
        self._fit_maxclients()
        self._listen_tcp()
        path = str(config["unixsocket"])
        if path:
            mode, backlog = int(config["unixsocketperm"]), int(config["tcp-backlog"])
            self.listeners.listen_unix(path, mode, backlog)
        if not self.listeners.addresses():
            raise ConfigError("Configured to not listen anywhere: set port or unixsocket")
        self._set_limits(config["client-output-buffer-limit"])
        config.subscribe("port", lambda _: self._listen_again("Unable to listen on this port."))
        config.subscribe(
            "bind", lambda _: self._listen_again("Failed to bind to specified addresses.")
        )
        config.subscribe("maxclients", self._check_maxclients)
        config.subscribe("requirepass", self._let_in)
        config.subscribe("client-output-buffer-limit", self._set_limits)
        for name in ("proto-max-bulk-len", "client-query-buffer-limit"):
            config.subscribe(name, lambda _: self._limit_input(*self.connections.values()))

    def _listen_tcp(self) -> None:
        config = self.config
        self.listeners.listen_tcp(config["bind"], int(config["port"]), int(config["tcp-backlog"]))
        self.instance.port = self.listeners.port

    def _listen_again(self, refusal: str) -> None:
        """CONFIG SET port or bind; it is called again with the old value after a refusal."""
        try:
            self._listen_tcp()
        except ConfigError as error:
            log.warning("The new addresses cannot be listened on", error=str(error))
            raise ConfigError(refusal) from None

    def _let_in(self, password: str) -> None:
        """Without a password nobody has to authenticate; a new one is asked of newcomers only."""
        if not password:
            for connection in self.connections.values():
                connection.session.authenticate(True)

    def _set_limits(self, limits: tuple[tuple[str, int, int, int], ...]) -> None:
        self.limits = next((limit[1:] for limit in limits if limit[0] == "normal"), NO_LIMITS)
        self.limited = self.limits != NO_LIMITS

    def _limit_input(self, *connections: Connection) -> None:
        for connection in connections:
            parser = connection.session.parser
            parser.max_bulk = int(self.config["proto-max-bulk-len"])
            parser.max_buffer = int(self.config["client-query-buffer-limit"])

    def _fit_maxclients(self) -> None:
        wanted = int(self.config["maxclients"])
        possible = allow_clients(wanted)
        if possible < wanted:
            log.warning(
                f"maxclients has been reduced to {possible} to compensate for low ulimit. "
                "If you need higher maxclients increase 'ulimit -n'."
            )
            self.config.set_keywords({"maxclients": possible})

    def _check_maxclients(self, wanted: int) -> None:
        possible = allow_clients(wanted)
        if possible < wanted:
            raise ConfigError(
                "The operating system is not able to handle the specified number of clients, "
                f"try with {possible}"
            )

    # Connections ------------------------------------------------------------------------------

    def _accepted(self, sock: socket.socket) -> None:
        task = self.loop.create_task(
            self.loop.connect_accepted_socket(
                lambda: cast("asyncio.Protocol", Connection(self)), sock
            )
        )
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def admit(self, connection: Connection, transport: asyncio.BaseTransport) -> bytes:
        """Make the session of a new connection; returns what to say if it is refused."""
        instance = self.instance
        instance.connections_received += 1
        connection.session = session = instance.new_session()
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if isinstance(peer, tuple):
            session.address, session.local_address = _address(peer), _address(own)
        else:
            session.unix = True
            session.address = session.local_address = f"{self.config['unixsocket']}:0"
        sock = transport.get_extra_info("socket")
        session.fd = sock.fileno() if sock is not None else -1
        session.kill = connection.kill
        session.unsent = connection.unsent
        refusal = self._refusal(connection)
        if refusal:
            instance.rejected_connections += 1
            return refusal
        self._limit_input(connection)
        self.connections[session.id] = connection
        instance.clients[session.id] = session
        for observer in instance.connected:
            observer(session)
        return b""

    def _refusal(self, connection: Connection) -> bytes:
        config = self.config
        if self._exit.done():
            return LEAVING
        if len(self.connections) >= int(config["maxclients"]):
            return TOO_MANY
        if config["protected-mode"] and not config["requirepass"]:
            return b"" if connection.session.is_local else PROTECTED
        return b""

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
        if self._closing:
            return  # accepted while we leave: its transport goes with the loop
        if not self._pending:
            self.loop.call_soon(self.end_of_turn)
        self._pending.append(connection)

    def end_of_turn(self) -> None:
        """One flush for every command of this turn, then (once it is durable) their replies."""
        pending, self._pending = self._pending, []
        durable: Future[None] | None = None
        if not self.instance.closed:
            try:
                durable = self.engine.flush()
            except Exception as error:
                self._in_trouble(error, pending)
        if self._failed:
            return  # what these replies promise may not be kept
        if durable is None and not self._held:
            for connection in pending:
                session = connection.session
                connection.send(session.out.take(), session.closing)
            return
        replies = [(c, c.session.out.take(), c.session.closing) for c in pending]
        for connection, out, _ in replies:
            connection.hold(out)
        self._held.append((durable, replies))
        if durable is not None:
            durable.add_done_callback(self._durable)

    def _durable(self, future: Future[None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be closed already
            self.loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        """Send the replies whose commits are durable now, in order."""
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
            for connection, out, close in replies:
                connection.release(out)
                connection.send(out, close)

    # Time -------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._exit.done():
            return
        self.loop.call_later(1 / int(self.config["hz"]), self._tick)
        try:
            self.instance.cron()
        except Exception as error:
            self._in_trouble(error, self._pending)
        else:
            self._out_of_trouble()
        self._close_connections()
        if self.instance.keyspace.freeing.pending and not self._freeing:
            self._freeing = True  # soon, not now: who deleted it may have more to ask
            self.loop.call_later(10 * REST_S, self._free)

    def _free(self) -> None:
        """Go on freeing what was deleted, between the requests."""
        self._freeing = self.instance.keyspace.freeing.step()
        if self._freeing:
            self.loop.call_later(REST_S, self._free)

    def _out_of_trouble(self) -> None:
        self.end_of_turn()
        if self._trouble and not self.engine.unflushed:
            log.warning("The disk is well again, writes are accepted", was=self._trouble)
            self._trouble = ""
            self.engine.refuse_writes(None, SHELL)

    def _in_trouble(self, error: Exception, pending: list[Connection]) -> None:
        """The policy failed: writes are refused until it works, which is tried at each tick.

        Replies that did not leave yet may promise what is not kept: these clients are cut off.
        Later replies promise nothing.
        """
        if not self._trouble:
            log.error("The persistence failed, writes are refused until it works", error=str(error))
            self.engine.refuse_writes(f"MISCONF Errors writing to disk: {error}", SHELL)
            for connection in pending:
                connection.kill()
        self._trouble = str(error)

    def _close_connections(self) -> None:
        """Those that are idle, and those that do not read their replies."""
        timeout = int(self.config["timeout"])
        if not timeout and not self.limited:
            return
        now, monotonic = time.time(), time.monotonic()
        for connection in list(self.connections.values()):
            session = connection.session
            if timeout and now - session.last_active > timeout and session.blocked is None:
                connection.kill()
            elif self.limited:
                connection.check_limits(monotonic)

    # Leaving ----------------------------------------------------------------------------------

    def _handle_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self.loop.add_signal_handler(number, self._on_signal, number)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as Redis: a closed terminal is no reason

    def _on_signal(self, number: signal.Signals) -> None:
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                log.warning("You insist... exiting now.")
                os._exit(1)
        log.warning(f"Received {number.name} scheduling shutdown...")
        instance = self.instance
        if instance.loading:
            instance.loader.abort.set()
            return
        how = self.config[f"shutdown-on-{number.name.lower()}"]
        save = True if "save" in how else False if "nosave" in how else None
        try:
            instance.shutdown(save, force="force" in how)
        except PersistenceError as error:
            log.error("Error trying to save the DB, can't exit", error=str(error))
            self._interrupts = 0
            return
        self._leave(0)

    def _leave(self, code: int) -> None:
        """End `run` with this exit code. No further command is read: nothing would keep it."""
        self._failed = self._failed or code != 0
        if not self._exit.done():
            self._exit.set_result(code)
        for connection in self.connections.values():
            if not connection.transport.is_closing():
                connection.transport.pause_reading()

    def _restart(self, seconds: float) -> None:
        self.restart_after = seconds
        child = self.instance.active_child
        if child is not None:
            child.kill()
        self._leave(0)

    async def _close(self) -> None:
        self._closing = True
        self.listeners.close()
        for task in self._connecting:
            task.cancel()
        if self.instance.closed and not self._held:
            self.end_of_turn()  # replies that SHUTDOWN has made durable
        for connection in list(self.connections.values()):
            connection.close()
        await asyncio.sleep(0)
        for connection in list(self.connections.values()):
            connection.transport.abort()
        await asyncio.sleep(0)

    def _close_sockets_in_child(self) -> None:
        """A snapshot's child must not keep the port or the clients of a parent that dies."""
        self.listeners.forget()
        for connection in self.connections.values():
            with contextlib.suppress(OSError):
                os.close(connection.session.fd)


def allow_clients(wanted: int) -> int:
    """Raise the limit of open files as far as needed; returns how many clients there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    granted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
        soft = granted
    return max(1, soft - RESERVED_FILES)


def _spare_collector() -> None:
    """Let the garbage collector look seldom, and at what is young.

    It is for cycles only, and a closed connection leaves none. At its usual pace it would search
    the commits of every busy turn, and stop the clients to walk all that was written.
    """
    gc.set_threshold(50_000, 50, 1_000)


def _address(name: tuple[Any, ...]) -> str:
    """A peer as Redis shows it: 127.0.0.1:6379, [::1]:6379."""
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _log_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    log.error(
        context.get("message", "Unexpected error in the event loop"),
        exc_info=context.get("exception"),
    )


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
