"""One open store: config, storage, plugins, engine and policy put together.

The server and the embedded `kvcore.Store` are two shells over an `Instance`: both call `load`, then
`cron` about ten times a second, and `shutdown` at the end, from the thread that holds the store.
"""

from __future__ import annotations

import functools
import gc
import os
import secrets
import time
from collections.abc import Callable, Iterable

import structlog

from kvcore import change, families, plugins, snapshot, startup
from kvcore.config import Config
from kvcore.datatype import TypeRegistry
from kvcore.engine import POLICY, Engine
from kvcore.errors import (
    ConfigError,
    CorruptData,
    KvcoreError,
    PersistenceError,
    PluginError,
    StoreLocked,
)
from kvcore.keyspace import Keyspace
from kvcore.load import EngineLoader, LoadAborted
from kvcore.lock import FolderLock
from kvcore.persistence import Host, Persistence, View
from kvcore.session import Session
from kvcore.storage import LocalStorage, Storage

_LIMITS = (
    "list-max-listpack-size",
    "list-compress-depth",
    "hash-max-listpack-entries",
    "hash-max-listpack-value",
    "set-max-intset-entries",
    "set-max-listpack-entries",
    "set-max-listpack-value",
    "zset-max-listpack-entries",
    "zset-max-listpack-value",
)


class Instance(Host):
    """A store from its configuration to its shutdown; also the `Host` of its policy.

    ``policy``   the selected persistence's name
    ``clients``  connected sessions by id
    ``embedded`` the process is another program's, which may have threads and locks of its own
    ``loader``   the running (or last) load; ``loading`` tells whether it runs
    """

    def __init__(
        self,
        config: Config,
        *,
        hooks: Iterable[object] = (),
        storage: Storage | None = None,
        watch_load: Callable[[int, int], None] | None = None,
        replacement: type[Persistence] | None = None,
        embedded: bool = False,
    ) -> None:
        self.config = config
        self.log = structlog.get_logger("kvcore")
        self.policy, self.policy_class = select_policy(config)
        if replacement is not None:
            self.policy, self.policy_class = replacement.name, replacement
        self.embedded = embedded
        self.storage = storage or LocalStorage(str(config["dir"]))
        self.plugins = plugins.Plugins([families, *hooks])
        self.keyspace = Keyspace(int(config["databases"]))
        self.keyspace.emptied = self._emptied
        self.engine = Engine(self.keyspace)
        self.engine.instance = self
        self.engine.loading(True)  # until `load` is over: a server listens before it begins
        self.clients: dict[int, Session] = {}
        self.next_client_id = 1
        self.started = time.time()
        self.run_id = secrets.token_hex(20)
        self.connections_received = 0
        self.rejected_connections = 0
        self.connected: tuple[Callable[..., None], ...] = ()
        self.disconnected: tuple[Callable[..., None], ...] = ()
        self.forks = 0
        self.last_fork_usec = 0
        self.loading = True
        self.closed = False
        self.last_save = int(self.started)
        self.port = 0
        self.on_shutdown: Callable[[], None] | None = None
        self.on_restart: Callable[[float], None] | None = None
        self.on_fork: list[Callable[[], None]] = []
        self.on_fatal: Callable[[str], None] | None = None
        self.info_sections: dict[str, Callable[[], dict[str, object]]] = {}
        self._child: snapshot.Child | None = None
        self._view = snapshot.LiveView(self.keyspace)
        for datatype in self.plugins.collect("kvcore_types"):
            self.keyspace.types.add(datatype)
        from kvcore import admin  # its commands need the session, so it stands above us

        self.rates = admin.Rates()
        self._commands = [*admin.COMMANDS, *self.plugins.collect("kvcore_commands")]
        self.engine.commands.add(self._commands)
        for name in _LIMITS:
            self._follow_limit(name)
        if storage is None:
            config.subscribe("dir", self._move)
        self._watch_load = watch_load
        self.loader = EngineLoader(self.engine, watch_load)
        self._lock = FolderLock(self.storage)
        self.persistence = self.policy_class(self)
        self._policy_commands: list[str] = []
        self._serve_commands()
        config.decide(("appendonly", "persistence"), self._follow_policy)

    def _serve_commands(self) -> None:
        """The policy's commands, in place of the core's and of a former policy's."""
        commands = list(self.persistence.commands())
        gone, self._policy_commands = self._policy_commands, [one.name for one in commands]
        back = [one for one in self._commands if one.name in gone]
        self.engine.commands.exchange(gone, [*back, *commands])

    def _follow_limit(self, name: str) -> None:
        attribute = name.replace("-", "_")
        setattr(self.keyspace.limits, attribute, int(self.config[name]))
        self.config.subscribe(
            name, lambda value: setattr(self.keyspace.limits, attribute, int(str(value)))
        )

    def _move(self, folder: object) -> None:
        """CONFIG SET dir: what is created from now on lies there; open files stay open."""
        storage = LocalStorage(str(folder))
        if storage.describe() == self.storage.describe():
            return
        lock = FolderLock(storage)
        try:
            lock.take()
        except StoreLocked as error:
            raise ConfigError(str(error)) from None
        self._lock.release()
        self._lock = lock
        self.storage = storage

    # Opening ----------------------------------------------------------------------------------

    def lock(self) -> None:
        """Make sure that the data folder exists and is ours; raises StoreLocked."""
        if isinstance(self.storage, LocalStorage):
            try:
                os.makedirs(self.storage.root, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"can't make the data folder: {error}") from error
        try:
            self._lock.take()
        except StoreLocked:
            self.closed = True
            raise

    def load(self) -> None:
        """Fill the keyspace (see kvcore.startup), then open it to writes.

        Raises CorruptData, ConfigError or PersistenceError; the files are untouched then.
        """
        try:
            self._load()
        except OSError as error:
            raise PersistenceError(f"cannot open the data: {error}") from error

    def _load(self) -> None:
        source_name, source = startup.choose(
            self.policy_class, self.policy, self.storage, self.config, self.log
        )
        begin = time.perf_counter()
        adopted = source is not self.policy_class
        origin = source(self) if adopted else self.persistence
        try:
            self._fill(origin)
        finally:
            if adopted:
                change.let_go(origin, self.log)
        if self.loader.abort.is_set():  # too late for a report of progress to notice it
            raise LoadAborted("the load was told to stop")
        if adopted:
            self.persistence.adopt(self.view())
            self.log.warning(
                "Data adopted from another persistence; its files were left where they are",
                selected=self.policy,
                adopted=source_name,
                keys=self.keyspace.size(),
            )
        self.plugins.register(self.persistence)
        self._freeze()
        self.persistence.start()
        startup.obeyed(self.storage, self.config)
        self.engine.attach(self.persistence)
        self.loading = False
        self.engine.loading(False)
        seconds = time.perf_counter() - begin
        if self.loader.keys or self.loader.commands:
            self.log.info(
                f"DB loaded from disk: {seconds:.3f} seconds",
                persistence=source_name,
                keys=self.keyspace.size(),
            )
        self.plugins.tell("kvcore_loaded", keys=self.keyspace.size(), seconds=seconds)

    def _fill(self, source: Persistence) -> None:
        """Run ``source.load``. What it loads is no change, and nothing expires meanwhile."""
        self.keyspace.expiring = False
        collecting = gc.isenabled()
        gc.disable()  # a load makes no garbage, and the search for it took a fifth of the time
        try:
            source.load(self.loader)
        except OSError as error:
            raise PersistenceError(f"cannot read the data: {error}") from error
        except CorruptData as error:
            if not error.advice:
                error.advice = "The file was left as it is"
            raise
        finally:
            if collecting:
                if not self.embedded:  # nor does the search look at what was loaded, ever
                    gc.freeze()
                gc.enable()
            for db in self.keyspace.databases:  # the files may have promised more
                db.entries.trim()
                db.expires.trim()
            self.keyspace.expiring = True
        self.keyspace.dirty = 0
        self.keyspace.replaced = False

    def reload(self, *, save: bool = True, flush: bool = True, merge: bool = False) -> None:
        """DEBUG RELOAD: put what the policy loads from its files in the place of the data.

        ``save``: take a snapshot first. ``flush``: empty the databases first. ``merge``: a loaded
        key replaces one of the same name. Raises PersistenceError, before anything is touched,
        if there is nothing to load, and CorruptData if it is damaged.
        """
        self.engine.commit()
        durable = self.engine.flush()
        if durable is not None:
            durable.result()
        if save:
            self.persistence.snapshot(self.view())
        if not self.policy_class.probe(self.storage, self.config).has_data:
            raise PersistenceError(f"persistence '{self.policy}' has no data to load")
        self.engine.detach()
        self.loading = True
        try:
            if flush:
                for db in self.keyspace.databases:
                    db.clear()
            self.loader = EngineLoader(self.engine, self._watch_load, merge=merge)
            self._fill(self.persistence)
        finally:
            self.loading = False
            self.engine.attach(self.persistence)

    def _freeze(self) -> None:
        self.engine.before = self.plugins.freeze("before_command")
        self.engine.after = self.plugins.freeze("after_write")
        self.keyspace.listeners = self.plugins.freeze("key_event")
        self.connected = self.plugins.freeze("client_connected")
        self.disconnected = self.plugins.freeze("client_disconnected")

    # Another policy ---------------------------------------------------------------------------

    def _follow_policy(self, changed: set[str]) -> None:
        """CONFIG SET appendonly or persistence. Raises ConfigError, and nothing has changed."""
        config = self.config
        name = change.wanted_policy(config, self.policy, changed)
        if name != self.policy:
            try:
                self.change_policy(name)
            except Exception as error:
                if not isinstance(error, (KvcoreError, OSError)):
                    self.log.exception(f"Persistence '{name}' could not take over")
                raise ConfigError(
                    f"persistence '{self.policy}' stays in charge: {error}"
                ) from error
        settings: dict[str, object] = {"appendonly": change.keeps_log(name)}
        if config["persistence"]:
            settings["persistence"] = name
        config.set_keywords(settings)

    def change_policy(self, name: str) -> None:
        """Have the policy ``name`` take over; see kvcore.change.

        Raises what went wrong, whatever it is; the former one goes on then.
        """
        engine, former, former_class = self.engine, self.persistence, self.policy_class
        if engine.nested:
            raise PersistenceError("a transaction is open, of which each would have a half")
        begin = time.perf_counter()
        successor = plugins.load_policy(name)
        self.config.add(successor.options)
        child = self.active_child
        if child is not None:  # it would go on with the files of the former
            if child.purpose == "aof":
                self.log.warning(f"Killing running AOF rewrite child: {child.pid}")
            else:
                self.log.warning("There is a child saving an .rdb. Killing it!", pid=child.pid)
            child.cancel()
        engine.commit()
        refusal = engine.refusals[POLICY]
        engine.refuse_writes(None)
        try:
            new = change.take_over(
                successor, self, former, self.view(), self.plugins, parts=not engine.untaken
            )
        except BaseException:
            engine.refuse_writes(refusal or None)
            self._forget_options(successor, former_class)
            raise
        self.plugins.unregister(former)
        self._forget_options(former_class, successor)
        self.persistence, self.policy_class = new, successor
        self.policy, former_name = name, self.policy
        self._serve_commands()
        self._freeze()
        engine.untaken = []  # the new one has all that there is
        engine.attach(new)
        self.log.warning(
            f"Persistence '{name}' took over from '{former_name}', whose files were left where "
            "they are",
            keys=self.keyspace.size(),
            seconds=round(time.perf_counter() - begin, 3),
        )

    def _forget_options(self, gone: type[Persistence], kept: type[Persistence]) -> None:
        self.config.remove([option for option in gone.options if option not in kept.options])

    # Running ----------------------------------------------------------------------------------

    def cron(self, now: float | None = None) -> None:
        """Housekeeping, about ten times a second; ``now``: the policy's clock (Unix seconds)."""
        if self.loading or self.closed:
            return
        engine = self.engine
        self.rates.sample(time.monotonic(), engine.processed, engine.received, engine.sent)
        self.keyspace.expire_some()
        self.engine.commit()
        self.persistence.cron(time.time() if now is None else now)

    def _emptied(self) -> None:
        """FLUSHALL. Its reply waits for what the policy makes of it."""
        engine = self.engine
        if engine.persistence is not None:
            engine.persistence.emptied()
            engine.unflushed = True

    def new_session(self) -> Session:
        """A session with the next client id, as the configuration authenticates it."""
        session = Session(
            self.engine, id=self.next_client_id, authenticated=not self.config["requirepass"]
        )
        self.next_client_id += 1
        return session

    # Closing ----------------------------------------------------------------------------------

    def shutdown(self, save: bool | None = None, *, force: bool = False) -> None:
        """Close the policy and let go of the folder. ``save`` as SHUTDOWN SAVE/NOSAVE.

        Raises PersistenceError and stays open if the data cannot be made durable (unless
        ``force``). Closing twice is no error.
        """
        if self.closed:
            return
        problem = ""
        try:
            self.engine.commit()
            self.engine.hand_over()
            self.persistence.close(False if self.engine.persistence is None else save)
        except (PersistenceError, OSError) as error:
            problem = str(error)
            if not force:
                raise PersistenceError(problem) from error
            self.log.error("Closing without the data being durable, as forced", error=problem)
        self.closed = True
        self._lock.release()
        self.plugins.tell("kvcore_shutdown", error=problem)
        self.log.warning("Redis is now ready to exit, bye bye...")

    def release(self) -> None:
        """After a failed load: let go of the folder, write nothing."""
        self.closed = True
        self._lock.release()

    # Host: what the policy may use ------------------------------------------------------------

    def view(self) -> View:
        return self._view

    def background(self, purpose: str, task: snapshot.Task) -> snapshot.Child:
        if self.active_child is not None:
            raise PersistenceError("Another child process is active")
        begin = time.perf_counter()
        self._child = self._start_child(purpose, task)
        self.last_fork_usec = int((time.perf_counter() - begin) * 1e6)
        return self._child

    def _start_child(self, purpose: str, task: snapshot.Task) -> snapshot.Child:
        child = self.storage.start_child(purpose, self.keyspace, task)
        if child is not None:
            return child
        method = self.config["snapshot-method"]
        if method == "auto":
            # Who embeds us may hold a lock at this moment, which nobody would release in a fork.
            method = "inprocess" if self.embedded or not hasattr(os, "fork") else "fork"
        if method == "inprocess":
            return snapshot.ThreadChild(purpose, self.keyspace, task)
        cpus = str(self.config["aof_rewrite_cpulist" if purpose == "aof" else "bgsave_cpulist"])
        prepare = functools.partial(self._in_child, cpus)
        child = snapshot.fork(purpose, self.keyspace, task, prepare)
        self.forks += 1
        return child

    def _in_child(self, cpus: str) -> None:
        snapshot.bind_to(cpus)
        # What outlives us in a child would keep the next process out.
        self._lock.forget()
        for close in self.on_fork:
            close()

    @property
    def active_child(self) -> snapshot.Child | None:
        child = self._child
        return child if child is not None and child.running else None

    @property
    def last_child(self) -> snapshot.Child | None:
        return self._child

    def value(self, db: int, key: bytes) -> tuple[object, int] | None:
        database = self.keyspace.databases[db]
        found = database.entries.get(key)
        return None if found is None else (found, database.expiry(key))

    @property
    def types(self) -> TypeRegistry:
        return self.keyspace.types

    @property
    def dirty(self) -> int:
        return self.keyspace.dirty

    @dirty.setter
    def dirty(self, value: int) -> None:
        self.keyspace.dirty = value

    @property
    def in_transaction(self) -> bool:
        return self.engine.nested

    def refuse_writes(self, reason: str | None) -> None:
        self.engine.refuse_writes(reason)

    def saved(self, purpose: str, error: str = "") -> None:
        self.plugins.tell("kvcore_saved", purpose=purpose, ok=not error, error=error)

    def fatal(self, reason: str) -> None:
        self.log.critical(reason)
        if self.on_fatal is not None:
            self.on_fatal(reason)


def select_policy(config: Config) -> tuple[str, type[Persistence]]:
    """The persistence that the configuration asks for, its options declared.

    ``persistence NAME`` decides; without it ``appendonly`` does, as Redis would: an AOF together
    with snapshots (hybrid), or snapshots alone (rdb). Raises PluginError, ConfigError.
    """
    name = str(config["persistence"])
    if not name:
        name = change.default_policy(config)
    try:
        policy = plugins.load_policy(name)
    except PluginError as error:
        lines = config.lines("persistence") or config.lines("appendonly")
        raise (lines[-1].error(str(error)) if lines else error) from None
    config.add(policy.options)
    config.refuse_unknown()
    logs = change.keeps_log(name)
    if name in plugins.OURS and bool(config["appendonly"]) != logs:
        for line in config.lines("appendonly"):
            raise line.error(f"it contradicts persistence {name}: remove one of the two")
        # What CONFIG GET tells: a tool asks `appendonly` to learn whether there is an AOF.
        config.set_keywords({"appendonly": logs})
    return name, policy
