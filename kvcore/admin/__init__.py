"""The commands about connections, transactions and the store itself (they see the `Session`)."""

from __future__ import annotations

from kvcore.admin import (
    client,
    config,
    connection,
    debug,
    info,
    introspection,
    server,
    transactions,
    waiting,
)
from kvcore.admin.rates import Rates

__all__ = ["COMMANDS", "Rates"]

COMMANDS = [
    *connection.command.commands,
    *client.command.commands,
    *transactions.command.commands,
    *introspection.command.commands,
    *config.command.commands,
    *info.command.commands,
    *server.command.commands,
    *waiting.command.commands,
    *debug.command.commands,
]
