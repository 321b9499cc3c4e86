"""Keys of any type: deleting, naming, copying, expiry, SCAN, SORT, DUMP; whole databases."""

from __future__ import annotations

from kvcore.datatype import DataType
from kvcore.families.keys import commands, databases, dump, expiry, sort

TYPE: DataType | None = None
COMMANDS = [
    *commands.command.commands,
    *expiry.command.commands,
    *dump.command.commands,
    *sort.command.commands,
    *databases.command.commands,
]
