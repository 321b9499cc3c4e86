"""Every hook of kvcore, with its guarantee. Implement them with ``@kvcore.hookimpl``.

Three kinds:

* *registration* hooks run once, while the store opens;
* *lifecycle* hooks run at rare events, as plain pluggy calls;
* *observers* are on the road of every command: their implementations are frozen into tuples when
  the store opens (`kvcore.plugins.Plugins.freeze`), so that an absent one costs one test. They run
  in the thread that executes the command, must be quick, and cannot break it: what they raise is
  logged once per plugin and hook, and the command goes on.

Observers take part of the arguments if they like, as pluggy allows: names count, not positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    from kvcore.command import Command
    from kvcore.config.options import Option
    from kvcore.datatype import DataType
    from kvcore.persistence import Batch

PROJECT: Final = "kvcore"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# Registration -----------------------------------------------------------------------------------


@hookspec
def kvcore_options() -> Sequence[Option]:  # type: ignore[empty-body]
    """Directives that this plugin adds to the configuration; called before it is read."""


@hookspec
def kvcore_types() -> Sequence[DataType]:  # type: ignore[empty-body]
    """Data types; a class or an RDB code may be registered once."""


@hookspec
def kvcore_commands() -> Sequence[Command]:  # type: ignore[empty-body]
    """Commands; a later one replaces an earlier one of the same name."""


# Lifecycle --------------------------------------------------------------------------------------


@hookspec
def kvcore_loaded(keys: int, seconds: float) -> None:
    """The data is loaded and complete; clients are served from now on."""


@hookspec
def kvcore_saved(purpose: str, ok: bool, error: str) -> None:
    """A snapshot (``rdb``) or a rewrite of the log (``aof``) ended, well or not."""


@hookspec
def kvcore_shutdown(error: str) -> None:
    """The store is closed; everything promised is durable unless ``error`` says otherwise."""


# Observers --------------------------------------------------------------------------------------


@hookspec
def before_command(session: Any, argv: list[bytes]) -> None:
    """A command is about to run (after every check). ``argv`` must not be changed."""


@hookspec
def after_write(batch: Batch) -> None:
    """A commit was given to the persistence; it is durable only after the next flush."""


@hookspec
def key_event(db: int, event: str, key: bytes) -> None:
    """A key changed: Redis' keyspace events (``set``, ``lpush``, ``del``, ``expired`` …)."""


@hookspec
def client_connected(session: Any) -> None:
    """A client is there (TCP, Unix socket); embedded calls are no clients."""


@hookspec
def client_disconnected(session: Any) -> None:
    """A client has gone; its WATCHes are released already."""


OBSERVERS: Final = (
    "before_command",
    "after_write",
    "key_event",
    "client_connected",
    "client_disconnected",
)
