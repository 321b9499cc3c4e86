"""Databases, keys, expiry, and the record of what changed.

A write has one way through this module: a command takes the value (`Database.find`), changes it,
and calls `Database.changed`. That raises ``dirty`` (the engine compares it before and after),
breaks WATCHes, tells key events, and, where the persistence policy asks for it, collects the
touched keys. Effects other than the command itself (an expired key's DEL, a rewritten command) go
through `Keyspace.propagate`.

Values: strings are plain ``bytes`` or ``int``; everything else is an instance of a family's class,
or lies packed (see kvcore.packed) until `lookup` or `find` put the live value in its place.

**Few small values are live**: between two commands (so that none holds one) `Keyspace.tidy` packs
again what the last one unpacked, but for some, of which those used most will be (`Database.live`);
and when more than MOST_LIVE are, those that were touched longest ago.

**A stable view** (`Keyspace.freeze`) is a copy of every table, and a table's copy is lazy. What may
be changed in place, it keeps by one rule: **a command changes only a value that `Database.find`
gave it**; `lookup`, `glance` and `peek` are for reading. While a view is open, `find` puts a copy
(which is lazy too, where the value is large) in place of a value that the view still needs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from kvcore.datatype import Limits, TypeRegistry, Value
from kvcore.freeing import Freeing
from kvcore.packed import Packed
from kvcore.table import SHARD, Table

KeyEvent = Callable[[int, str, bytes], None]

# What one tick of active expiry may take, and how many keys it looks at before it judges.
_EXPIRE_SLICE_S: Final = 0.025
_EXPIRE_SAMPLE: Final = 200

# Small values of one database that are live, and how many more may come before some are packed.
MOST_LIVE: Final = 128
_MORE_LIVE: Final = 32
_KEPT: Final = 7  # of so many values and one more that were unpacked, one is kept live

_time: Final = time.time

# What copying costs, about, in bytes.
_SHARD_BYTES: Final = sys.getsizeof(dict.fromkeys(range(SHARD)))
_ELEMENT_BYTES: Final = 16


class Watcher:
    """One session's WATCH: ``broken`` once a watched key was touched."""

    broken: bool

    def __init__(self) -> None:
        self.broken = False


class Database:
    """One numbered database: keys to values, keys to expiry (Unix milliseconds).

    ``live``  the keys of all small values that do not lie packed (and some more), in the order in
              which `tidy` looks at them
    """

    index: int
    keyspace: Keyspace
    entries: Table
    expires: Table
    frozen: Table | None  # the entries as the open view has them
    live: dict[bytes, None]
    watched: dict[bytes, list[Watcher]]
    expire_cursor: int

    def __init__(self, keyspace: Keyspace, index: int) -> None:
        self.keyspace = keyspace
        self.index = index
        self.entries = Table()
        self.expires = Table()
        self.frozen = None
        self.live = {}
        self.watched = {}
        self.expire_cursor = 0

    # Looking up -------------------------------------------------------------------------------

    def lookup(self, key: bytes) -> object | None:
        """The value for a reading command: counts hits and misses; None if absent or expired."""
        value = self.entries.get(key)
        if value is not None and (self.expires.count == 0 or not self._expire_if_due(key)):
            self.keyspace.hits += 1
            if type(value) is bytes or type(value) is int:
                return value
            if isinstance(value, Value):
                value.hot = True
            elif isinstance(value, Packed):
                return self._unpack_to_read(key, value)
            return value
        self.keyspace.misses += 1
        return None

    def find(self, key: bytes) -> object | None:
        """The value for a writing command, which may change it in place; None if absent or
        expired. No statistics."""
        value = self.entries.get(key)
        if value is not None and (self.expires.count == 0 or not self._expire_if_due(key)):
            if isinstance(value, Value):
                value.hot = True
                value.origin = None
            elif type(value) is bytes or type(value) is int:
                return value
            elif isinstance(value, Packed):
                return self._unpack(key, value)
            return value if self.frozen is None else self._spare(key, value)
        return None

    def glance(self, key: bytes) -> object | None:
        """As `lookup`, but the value as it is stored: for what takes values of any type."""
        value = self.peek(key)
        if value is None:
            self.keyspace.misses += 1
        else:
            self.keyspace.hits += 1
        return value

    def peek(self, key: bytes) -> object | None:
        """The value as it is stored, live or packed, for a look at it: no statistics, and it must
        not be changed."""
        value = self.entries.get(key)
        if value is not None and (self.expires.count == 0 or not self._expire_if_due(key)):
            return value
        return None

    def movable(self, key: bytes) -> object | None:
        """As `find`, but a packed value stays so: for what gives it another place."""
        value = self.peek(key)
        return value if isinstance(value, Packed) else self.find(key)

    def _unpack(self, key: bytes, packed: Packed) -> Value:
        """Put the live value in the place of a packed one; raises CorruptData, and it stays."""
        value: Value = self.keyspace.types.unpack(packed, key)
        self.entries.set(key, value)
        self.keyspace.unpacked.append((self, key, value))
        self.keyspace.pending = True
        return value

    def _unpack_to_read(self, key: bytes, packed: Packed) -> Value:
        """The same, but what was only wrapped for this look may be dropped after it."""
        value: Value = self.keyspace.types.unpack(packed, key)
        if value.made is None or self.keyspace.keep():
            value.origin = packed
            self.entries.set(key, value)
            self.mark_live(key)
        return value

    def exists(self, key: bytes) -> bool:
        return self.peek(key) is not None

    def _spare(self, key: bytes, value: object) -> object:
        """The value, or a copy that takes its place if the open view has it as well."""
        frozen = self.frozen
        if frozen is None or frozen.get(key) is not value:
            return value
        datatype = self.keyspace.types.of(value)
        twin = datatype.copy(value)
        if twin is not value:
            self.entries.set(key, twin)
            self.mark_live(key)
            size = sys.getsizeof(value) + datatype.length(value) * _ELEMENT_BYTES
            self.keyspace.copied += size
        return twin

    def expiry(self, key: bytes) -> int:
        """When the key expires, in Unix milliseconds; -1 if never."""
        if self.expires.count == 0:
            return -1
        when = self.expires.get(key)
        return when if isinstance(when, int) else -1

    def random_key(self) -> bytes | None:
        """A key chosen uniformly; None if every key tried turns out to be expired."""
        for _ in range(100):
            if self.entries.count == 0:
                return None
            key = self.entries.random()
            if self.exists(key):
                return key
        return None

    # Changing ---------------------------------------------------------------------------------

    def set(self, key: bytes, value: object) -> None:
        """Store a string or a packed value, new or over an old one of any type, without expiry."""
        self.entries.set(key, value)
        if self.expires.count:
            self.expires.pop(key)

    def set_all(self, keys: list[bytes], values: list[bytes]) -> None:
        """`set` each of these."""
        self.entries.set_all(keys, values)
        if self.expires.count:
            for key in keys:
                self.expires.pop(key)

    def store(self, key: bytes, value: object) -> None:
        """`set` for any value."""
        self.set(key, value)
        if isinstance(value, Value):
            self.mark_live(key)

    def put(self, key: bytes, value: object) -> None:
        """Store a value and keep the key's expiry."""
        self.entries.set(key, value)

    def remove(self, key: bytes) -> object | None:
        """Take a key out; returns its value, or None. Says nothing: see `changed`, `delete`."""
        value = self.entries.pop(key)
        if value is not None and self.expires.count:
            self.expires.pop(key)
        return value

    def delete(self, key: bytes) -> bool:
        """DEL of one key with its event; False if there was none."""
        if self.peek(key) is None:
            return False
        self.keyspace.free(self.remove(key))
        self.changed(key, "del")
        return True

    def drop_empty(self, key: bytes) -> None:
        """Take out a collection that a command has just emptied (event ``del``)."""
        self.remove(key)
        self.keyspace.tell(self.index, "del", key)

    def expire_at(self, key: bytes, when: int) -> None:
        """Let the key expire at ``when`` (Unix milliseconds)."""
        self.expires.set(key, when)

    def persist(self, key: bytes) -> bool:
        """Take the expiry away; False if there was none."""
        return self.expires.count > 0 and self.expires.pop(key) is not None

    def changed(self, key: bytes, event: str, count: int = 1) -> None:
        """A command changed this key: dirty, WATCH, events. ``count`` is Redis' server.dirty."""
        keyspace = self.keyspace
        keyspace.dirty += count
        if self.watched:
            self.touch(key)
        if keyspace.tracking:
            keyspace.touched.append((self.index, key))
            keyspace.pending = True
        if keyspace.listeners:
            keyspace.tell(self.index, event, key)

    def changed_all(self, keys: list[bytes], event: str) -> None:
        """`changed` for each of these keys."""
        keyspace = self.keyspace
        if self.watched or keyspace.tracking or keyspace.listeners:
            for key in keys:
                self.changed(key, event)
        else:
            keyspace.dirty += len(keys)

    def touch(self, key: bytes) -> None:
        """Break the WATCHes on a key."""
        watchers = self.watched.get(key)
        if watchers is not None:
            for watcher in watchers:
                watcher.broken = True

    # Packing -----------------------------------------------------------------------------------

    def mark_live(self, key: bytes) -> None:
        """This key's value is live from now on."""
        self.live[key] = None
        if len(self.live) > MOST_LIVE + _MORE_LIVE:
            self.keyspace.crowded.append(self)
            self.keyspace.pending = True

    def tidy(self) -> None:
        """Pack what was touched longest ago, until no more than MOST_LIVE are live. Not while a
        command runs: it would change a value that is in no table any more.

        "Longest" by a second chance (the clock of Corbató, 1968): whatever was touched since it
        was looked at last stays for another turn.
        """
        live = self.live
        while len(live) > MOST_LIVE:
            for key in list(live):
                del live[key]
                value = self.entries.get(key)
                if isinstance(value, Value):
                    if value.hot:
                        value.hot = False
                        live[key] = None
                    else:
                        self.pack(key, value)
                if len(live) == MOST_LIVE:
                    break

    def pack(self, key: bytes, value: Value) -> bool:
        """Put the packed form in the place of a live value; False if it has none."""
        packed = value.origin
        if packed is None:
            packed = self.keyspace.types.pack(value)
        if packed is None:
            return False
        self.entries.set(key, packed)
        return True

    def clear(self) -> int:
        """FLUSHDB: returns how many keys went."""
        count = self.entries.count
        for key in self.watched:
            if self.entries.has(key):
                self.touch(key)
        if self.keyspace.tracking:
            self.keyspace.touched.extend([(self.index, key) for key in self.entries.keys()])
            self.keyspace.pending = True
        if not self.keyspace.frozen:
            self.keyspace.freeing.add_keys(self.entries)
            self.keyspace.freeing.add_keys(self.expires)
        self.entries = Table()
        self.expires = Table()
        self.live = {}
        self.frozen = None
        return count

    # Expiry -----------------------------------------------------------------------------------

    def is_due(self, key: bytes) -> bool:
        """Is the key past its expiry? (Never while a file is loaded: the log says when.)"""
        when = self.expires.get(key)
        return isinstance(when, int) and when <= self.keyspace.now and self.keyspace.expiring

    def _expire_if_due(self, key: bytes) -> bool:
        if not self.is_due(key):
            return False
        self.expire(key)
        return True

    def expire(self, key: bytes) -> None:
        """Delete an expired key and tell the journals a DEL, so that replay needs no clock."""
        keyspace = self.keyspace
        keyspace.free(self.remove(key))
        keyspace.expired += 1
        if self.watched:
            self.touch(key)
        if keyspace.tracking:
            keyspace.touched.append((self.index, key))
        if keyspace.journaling:
            keyspace.effects.append((self.index, [b"DEL", key]))
        keyspace.pending = True
        keyspace.tell(self.index, "expired", key)


class Frozen:
    """What a view has of one database: copies of its tables, and the tables themselves."""

    index: int
    entries: Table
    expires: Table
    original: Table

    def __init__(self, db: Database) -> None:
        self.index = db.index
        self.original = db.entries
        self.entries = db.entries.copy()
        self.expires = db.expires.copy()


class Keyspace:
    """All databases of a store and what one command has changed in them.

    ``dirty``      changes since the last snapshot, counted as Redis counts them
    ``effects``    (db, argv) that the current commit gives to the journals
    ``replaced``   the running command named its effect itself: argv is not journalled
    ``touched``    (db, key) of the current commit, if ``tracking``
    ``pending``    the engine has to look at these three once the command has run
    ``now``        Unix milliseconds, one reading for all commands that arrived together
    ``expiring``   False while a file is loaded
    ``frozen``     a view is open; ``copied`` bytes of values so far (see `spared`)
    ``unpacked``   what the running command unpacked: database, key, value
    ``crowded``    the databases in which too many values are live
    ``freeing``    what was deleted and is large
    ``emptied``    what FLUSHALL calls
    """

    databases: list[Database]
    types: TypeRegistry
    limits: Limits
    dirty: int
    now: int
    effects: list[tuple[int, list[bytes]]]
    touched: list[tuple[int, bytes]]
    replaced: bool
    pending: bool
    journaling: bool
    tracking: bool
    expiring: bool
    frozen: bool
    copied: int
    active_expiry: bool
    listeners: tuple[KeyEvent, ...]
    emptied: Callable[[], None]
    hits: int
    misses: int
    expired: int
    evicted: int
    unpacked: list[tuple[Database, bytes, Value]]
    crowded: list[Database]
    turn: int
    freeing: Freeing

    def __init__(self, databases: int = 16) -> None:
        self.types = TypeRegistry()
        self.limits = Limits()
        self.dirty = 0
        self.now = int(time.time() * 1000)
        self.effects = []
        self.touched = []
        self.replaced = False
        self.pending = False
        self.journaling = False
        self.tracking = False
        self.expiring = True
        self.frozen = False
        self.copied = 0
        self.active_expiry = True
        self.listeners = ()
        self.emptied = _tell_nobody
        self.hits = 0
        self.misses = 0
        self.expired = 0
        self.evicted = 0
        self.unpacked = []
        self.crowded = []
        self.turn = 0
        self.freeing = Freeing()
        self.databases = [Database(self, index) for index in range(databases)]

    def tick(self) -> int:
        """Read the clock; returns Unix milliseconds."""
        self.now = now = int(_time() * 1000)
        return now

    def propagate(self, db: int, *commands: list[bytes]) -> None:
        """Give these commands to the journals in place of the running one (none: nothing)."""
        self.replaced = True
        self.pending = True
        if self.journaling:
            for argv in commands:
                self.effects.append((db, argv))

    def tell(self, db: int, event: str, key: bytes) -> None:
        """Tell the key-event observers; they never raise (see kvcore.plugins)."""
        for listener in self.listeners:
            listener(db, event, key)

    def swap(self, first: int, second: int) -> None:
        """SWAPDB: exchange the contents of two databases; sessions keep their numbers."""
        a, b = self.databases[first], self.databases[second]
        for db in (a, b):
            for key in db.watched:
                if a.entries.has(key) or b.entries.has(key):
                    db.touch(key)
        if self.tracking:
            self.pending = True
            for db in (a, b):
                for key in set(a.entries.keys()) | set(b.entries.keys()):
                    self.touched.append((db.index, key))
        a.entries, b.entries = b.entries, a.entries
        a.expires, b.expires = b.expires, a.expires
        a.live, b.live = b.live, a.live
        a.frozen, b.frozen = b.frozen, a.frozen

    def keep(self) -> bool:
        """Shall this value be live that is still a payload (see `Value.payload`)?

        One in eight. To wrap a payload costs less than to keep an account of what is live, and
        what is used often is soon among those.
        """
        self.turn = turn = self.turn + 1
        return turn & _KEPT == 0

    def tidy(self) -> None:
        """Between commands: pack again what the last one unpacked and what is too much."""
        if self.unpacked:
            unpacked = self.unpacked
            self.unpacked = []
            for db, key, value in unpacked:
                if value.made is None or self.keep():
                    db.mark_live(key)
                elif db.entries.get(key) is value:
                    db.pack(key, value)
        if self.crowded:
            crowded = self.crowded
            self.crowded = []
            for database in crowded:
                database.tidy()

    def freeze(self) -> list[Frozen]:
        """All databases that are not empty as they are now, for a view that may be read on another
        thread while commands run; `thaw` when it is not used any more. One at a time."""
        if self.frozen:
            raise RuntimeError("there is a view already")
        self.frozen = True
        self.copied = 0
        frozen = []
        for db in self.databases:
            if db.entries.count:
                found = Frozen(db)
                db.frozen = found.entries
                frozen.append(found)
        return frozen

    def thaw(self) -> None:
        """No view is open any more: nothing is kept for one."""
        self.frozen = False
        for db in self.databases:
            db.frozen = None
            db.entries.keep_all()
            db.expires.keep_all()

    def spared(self) -> int:
        """About how many bytes were copied because the open view needs what they were."""
        shards = 0
        for db in self.databases:
            shards += db.entries.copied + db.expires.copied
        return self.copied + shards * _SHARD_BYTES

    def free(self, value: object) -> None:
        """A key's value was deleted: if it is large, and no view has it as well, let it go little
        by little."""
        if isinstance(value, Value) and not self.frozen:
            self.freeing.add(value)

    def size(self) -> int:
        return sum(db.entries.count for db in self.databases)

    def expire_some(self) -> int:
        """One slice of active expiry, at most 25 ms; returns how many keys expired.

        Goes on with a database only while a tenth of the keys it looks at are due, as Redis does,
        so an idle store costs nothing. The cursor walks on from call to call: every expired key
        is found in the end whatever the clients read.
        """
        if not self.active_expiry or not self.expiring:
            return 0
        self.tick()
        before = self.expired
        deadline = time.monotonic() + _EXPIRE_SLICE_S
        for db in self.databases:
            while db.expires.count:
                found = self.expired
                looked = 0
                while looked < _EXPIRE_SAMPLE and db.expires.count:
                    db.expire_cursor, keys = db.expires.scan(db.expire_cursor)
                    looked += len(keys)
                    for key in keys:
                        if db.is_due(key):
                            db.expire(key)
                    if db.expire_cursor == 0:
                        break
                if (self.expired - found) * 10 <= looked or time.monotonic() > deadline:
                    break
        return self.expired - before

    def walk(self) -> Iterator[tuple[Database, bytes, object]]:
        """Every (database, key, value as stored); the keyspace must not change meanwhile."""
        for db in self.databases:
            for key, value in db.entries.items():
                yield db, key, value


def _tell_nobody() -> None:
    pass
