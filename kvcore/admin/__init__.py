"""The commands about connections, transactions and the store itself (they see the `Session`)."""

from __future__ import annotations

from kvcore.admin import connection, debug, transactions

COMMANDS = [
    *connection.command.commands,
    *transactions.command.commands,
    *debug.command.commands,
]
