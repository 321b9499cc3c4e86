"""kvcore: a Redis-compatible in-memory store whose persistence is a plugin.

>>> import kvcore
>>> with kvcore.open("data", persistence="hybrid") as store:
...     store.execute("SET", "greeting", "hello")
'OK'
"""

from __future__ import annotations

from kvcore.errors import (
    CommandError,
    ConfigError,
    CorruptData,
    KvcoreError,
    PersistenceError,
    PluginError,
    ProtocolError,
    StoreClosed,
    StoreLocked,
)
from kvcore.hookspecs import hookimpl
from kvcore.persistence import Batch, Found, Host, Loader, Persistence, View
from kvcore.store import Store, open
from kvcore.version import __version__

__all__ = [
    "Batch",
    "CommandError",
    "ConfigError",
    "CorruptData",
    "Found",
    "Host",
    "KvcoreError",
    "Loader",
    "Persistence",
    "PersistenceError",
    "PluginError",
    "ProtocolError",
    "Store",
    "StoreClosed",
    "StoreLocked",
    "View",
    "__version__",
    "hookimpl",
    "open",
]
