"""Strings: plain ``bytes``, ``int`` after INCR, ``bytearray`` after APPEND and SETRANGE."""

from __future__ import annotations

from kvcore.datatype import DataType
from kvcore.families.strings import commands, lcs, rdb

TYPE: DataType | None = rdb.TYPE
COMMANDS = [*commands.command.commands, *lcs.command.commands]
