"""A store under test: opened, used, killed, crashed and opened again, with time set by hand."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import kvcore
from kvcore import plugins
from kvcore.command import WRITE
from kvcore.config import Config
from kvcore.errors import CommandError, KvcoreError, PersistenceError
from kvcore.instance import Instance
from kvcore.persistence import Found, Persistence
from kvcore.storage import LocalStorage, Storage
from kvcore.store import Argument, Store
from kvcore.testing.claims import Claims
from kvcore.testing.storage import FaultyStorage
from kvcore.testing.workload import Commit, fingerprint

TICK_S: Final = 0.5
LONG_S: Final = 10.0  # what is worth waiting for without a bound that is claimed
THREADS_S: Final = 10.0  # real seconds that a policy's own thread may need for a sync


class Rig:
    """One data folder, and the store that is open on it (or not).

    ``storage``  the folder, a FaultyStorage: `kill` and `crash` put another in its place. None if
                 the policy goes past it (``claims.storage``): then ``path`` is a real folder
    ``store``    the open store; raises if there is none
    ``policy``   its policy, or that of the last store; ``policy_class`` its class
    ``now``      what the policy takes for the time of its ticks
    """

    def __init__(
        self,
        persistence: str,
        claims: Claims,
        options: Mapping[str, object],
        path: str,
        *,
        seed: int = 0,
    ) -> None:
        self.persistence = persistence
        self.claims = claims
        self.options: dict[str, Any] = {"save": "", **options}
        self.path = path
        self.policy_class = plugins.load_policy(persistence)
        self._faulty = FaultyStorage(seed, tears=claims.tears) if claims.storage else None
        self.now = time.time()
        self._store: Store | None = None
        self._instance: Instance | None = None
        self._left: list[Store] = []

    def getpid(self) -> int:
        """``os.getpid()`` of the process that is simulated now."""
        return self.storage.getpid()

    # Opening and closing ----------------------------------------------------------------------

    @property
    def storage(self) -> FaultyStorage:
        assert self._faulty is not None, "this policy goes past the storage"
        return self._faulty

    @storage.setter
    def storage(self, storage: FaultyStorage) -> None:
        self._faulty = storage

    @property
    def folder(self) -> Storage:
        """The data folder, whatever it lies on."""
        return LocalStorage(self.path) if self._faulty is None else self._faulty

    @property
    def store(self) -> Store:
        assert self._store is not None, "no store is open"
        return self._store

    @property
    def instance(self) -> Instance:
        """Of the open store, or of the last one."""
        assert self._instance is not None, "no store was open"
        return self._instance

    @property
    def policy(self) -> Persistence:
        return self.instance.persistence

    @property
    def is_open(self) -> bool:
        return self._store is not None

    def open(self, **options: object) -> Store:
        """Open the store; ``options`` for this time only. Raises as `kvcore.open` does."""
        assert self._store is None, "the store is open already"
        self._store = kvcore.open(
            self.path if self._faulty is None else None,
            self.persistence,
            storage=self._faulty,
            tick=False,
            **{**self.options, **options},
        )
        self._instance = self._store.instance
        return self._store

    def close(self, save: bool | None = True) -> None:
        """Close it in order. If that raises, the store stays open."""
        self.store.close(save)
        self._store = None

    def reopen(self, save: bool | None = True) -> Store:
        self.close(save)
        return self.open()

    def kill(self) -> None:
        """kill -9: the process is gone, and with it what it had not written."""
        if self._faulty is not None:
            after = self._faulty.kill()
            self._forget()
            self._faulty = after
        elif self._store is not None:
            # All that it holds in memory is as good as gone. Keep it from being collected: it
            # might write then.
            self._store.instance.release()
            self._left.append(self._store)
            self._store = None

    def crash(self, *, worst: bool = False) -> None:
        """The power fails: see `FaultyStorage.crash`."""
        after = self.storage.crash(worst=worst)
        self._forget()
        self._faulty = after

    def _forget(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            # What it does now reaches nobody: this only ends its threads.
            with contextlib.suppress(KvcoreError, OSError):
                store.instance.shutdown(False, force=True)

    def renew(self, seed: int) -> None:
        """Another empty folder, whose fate is decided by ``seed``; what is open is killed."""
        self.kill()
        self._faulty = FaultyStorage(seed, tears=self.claims.tears)
        random.seed(seed)  # what SPOP chooses

    @contextlib.contextmanager
    def ended(self) -> Iterator[None]:
        """Whatever happens inside, the store's threads end."""
        try:
            yield
        finally:
            if self._faulty is not None:
                self._faulty.kill()
                self._forget()
            elif self._store is not None:
                self._store.close(False)

    # Using it ---------------------------------------------------------------------------------

    def do(self, *words: Argument) -> Any:
        """Run one command; raises CommandError, and PersistenceError if it cannot be durable."""
        return self.store.execute(*words)

    def commit(self, commit: Commit) -> bool:
        """Run a commit; whether it was acknowledged. An error reply is an acknowledgement, too."""
        try:
            self.do("SELECT", commit.db)
            if len(commit.commands) > 1:
                self.store.transaction(*commit.commands)
            else:
                self.do(*commit.commands[0])
        except CommandError as error:
            return "MISCONF" not in str(error)
        except (PersistenceError, OSError):
            return False
        return True

    def tick(self, seconds: float = TICK_S) -> None:
        """So much later: housekeeping."""
        self.now += seconds
        self.store.tick(self.now)

    def snapshot(self) -> None:
        """`Persistence.snapshot` of what is there now."""
        self.policy.snapshot(self.instance.view())

    def background(self, command: str) -> None:
        """Start background work, if none goes on."""
        with contextlib.suppress(CommandError):
            self.do(command)

    def settle(self) -> None:
        """Let as much time pass as the policy claims to need, and children come to their end."""
        if self._faulty is None:
            return
        passed = 0.0
        while passed <= min(self.claims.loses_at_most, LONG_S):
            self.storage.finish_children()
            self.tick()
            passed += TICK_S

    def wait_for_syncs(self) -> None:
        """Until a thread of the policy, if there is one, has synced all that it would load."""
        if self._faulty is None:
            return
        files = set(self._probe(self.storage.copy()).files)
        deadline = time.monotonic() + THREADS_S
        while files & set(self.storage.unsynced()) and time.monotonic() < deadline:
            time.sleep(0.0005)

    @property
    def refuses(self) -> bool:
        """Whether writes are refused now."""
        return bool(self.instance.engine.gate & WRITE)

    def fingerprint(self) -> str:
        """What the store holds; see `kvcore.testing.workload.fingerprint`."""
        return fingerprint(self.instance.keyspace)

    def probe(self) -> Found:
        """What the policy finds in the folder."""
        return self._probe(self.folder)

    def _probe(self, folder: Storage) -> Found:
        config = Config()
        config.add(self.policy_class.options)
        config.set_keywords({"persistence": self.persistence, **self.options})
        return self.policy_class.probe(folder, config)
