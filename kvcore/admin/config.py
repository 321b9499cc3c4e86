"""CONFIG: read and change the options while the store is open.

What an option changes happens at once: whoever serves it has subscribed to it.
"""

from __future__ import annotations

from typing import Any, Final

import structlog

from kvcore import plugins
from kvcore.command import Family, help_text
from kvcore.errors import SYNTAX, CommandError, PluginError
from kvcore.session import Session

log = structlog.get_logger("kvcore")
command = Family("server")
command.container("CONFIG", since="2.0.0", summary="A container for server configuration commands.")


@command(
    "CONFIG|GET",
    -3,
    "admin noscript loading stale",
    since="2.0.0",
    complexity="O(N) when N is the number of configuration parameters provided",
)
def config_get(session: Session, argv: list[bytes]) -> object:
    """Returns the effective values of configuration parameters."""
    return session.engine.instance.config.get_matching(argv[2:])


@command(
    "CONFIG|SET",
    -4,
    "admin noscript loading stale",
    since="2.0.0",
    complexity="O(N) when N is the number of configuration parameters provided",
)
def config_set(session: Session, argv: list[bytes]) -> object:
    """Sets configuration parameters in-flight."""
    if len(argv) % 2:
        raise CommandError(SYNTAX)
    instance = session.engine.instance
    pairs = list(zip(argv[2::2], argv[3::2]))
    _declare_options(instance, pairs)
    instance.config.set_many(pairs, loading=instance.loading, local=session.is_local)
    return "OK"


def _declare_options(instance: Any, pairs: list[tuple[bytes, bytes]]) -> None:
    """A policy's own options may be set together with the choice of it."""
    for name, value in pairs:
        if name.lower() == b"persistence" and value:
            try:
                policy = plugins.load_policy(value.decode("utf-8", "replace"))
            except PluginError as error:
                raise CommandError(
                    f"ERR CONFIG SET failed (possibly related to argument 'persistence') - {error}"
                ) from None
            instance.config.add(policy.options)


@command("CONFIG|REWRITE", 2, "admin noscript loading stale", since="2.8.0", complexity="O(1)")
def config_rewrite(session: Session, argv: list[bytes]) -> object:
    """Persists the effective configuration to file."""
    session.engine.instance.config.rewrite()
    log.warning("CONFIG REWRITE executed with success.")
    return "OK"


@command("CONFIG|RESETSTAT", 2, "admin noscript loading stale", since="2.0.0", complexity="O(1)")
def config_resetstat(session: Session, argv: list[bytes]) -> object:
    """Resets the server's statistics."""
    reset_statistics(session.engine.instance)
    return "OK"


def reset_statistics(instance: Any) -> None:
    """Set to zero what INFO counts since the start; what it tells of the present stays."""
    engine, keyspace = instance.engine, instance.keyspace
    engine.processed = engine.received = engine.sent = engine.reads = engine.writes = 0
    engine.errors = {}
    keyspace.hits = keyspace.misses = keyspace.expired = keyspace.evicted = 0
    instance.connections_received = instance.rejected_connections = 0
    instance.forks = instance.last_fork_usec = 0
    instance.rates.clear()
    for one in engine.commands.everything():
        one.calls = one.rejected = one.failed = 0


@command("CONFIG|HELP", 2, "loading stale", since="5.0.0", complexity="O(1)")
def config_help(session: Session, argv: list[bytes]) -> object:
    """Returns helpful text about the different subcommands."""
    return help_text("CONFIG", _HELP)


_HELP: Final = """
GET <pattern>
    Return parameters matching the glob-like <pattern> and their values.
SET <directive> <value>
    Set the configuration <directive> to <value>.
RESETSTAT
    Reset statistics reported by the INFO command.
REWRITE
    Rewrite the configuration file.
"""
