"""A store in one SQLite file: a policy that keeps values, not a log, in a transaction a commit."""

from __future__ import annotations

import os
import sqlite3
from typing import Any

from kvcore import Batch, CorruptData, Found, Host, Loader, Persistence, View
from kvcore.codec.rdb import Reader, Writer
from kvcore.config import Config, Option
from kvcore.config.options import String
from kvcore.storage import Storage


class SqlitePersistence(Persistence):
    name = "sqlite"
    log = "keys"
    options = (Option("sqlite-file", String(), "store.sqlite", mutable=False),)

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.path = host.storage.describe(str(host.config["sqlite-file"]))
        os.makedirs(host.storage.describe(), exist_ok=True)  # kvcore makes it before it loads
        self.db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(
            "CREATE TABLE IF NOT EXISTS entries"
            "(db INT, key BLOB, type INT, value BLOB, expiry INT, PRIMARY KEY (db, key))"
        )

    @classmethod
    def probe(cls, storage: Storage, config: Config) -> Found:
        name = str(config["sqlite-file"])
        found = storage.stat(name)
        return Found((name,), (name,), found.mtime) if found else Found()

    def load(self, loader: Loader) -> None:
        for db, key, code, payload, expiry in self.db.execute("SELECT * FROM entries"):
            if code not in loader.types.by_code:
                raise CorruptData(f"unknown type {code} of key {key!r}", path=self.path)
            reader = Reader(payload, path=self.path, size=len(payload))
            value = loader.types.by_code[code].load(code, reader, loader.limits)
            loader.restore(db, key, value, expiry)

    def append(self, batch: Batch) -> None:
        self.db.execute("BEGIN")
        for db, key in dict.fromkeys(batch.keys):
            found = self.host.value(db, key)
            if found is None:
                self.db.execute("DELETE FROM entries WHERE db = ? AND key = ?", (db, key))
            else:
                self._put(db, key, *found)
        self.db.execute("COMMIT")

    def adopt(self, view: View) -> None:
        self.db.execute("BEGIN")
        self.db.execute("DELETE FROM entries")
        for db, _, _ in view.databases():
            for key, value, expiry in view.entries(db):
                self._put(db, key, value, expiry)
        self.db.execute("COMMIT")

    def _put(self, db: int, key: bytes, value: Any, expiry: int) -> None:
        datatype = self.host.types.of(value)
        writer = Writer()
        datatype.save(value, writer)
        self.db.execute(
            "REPLACE INTO entries VALUES (?, ?, ?, ?, ?)",
            (db, key, datatype.rdb_code(value, writer.version), writer.getvalue(), expiry),
        )

    def close(self, save: bool | None) -> None:
        self.db.close()
