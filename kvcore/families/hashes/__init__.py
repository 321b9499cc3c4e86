"""Hashes: fields to values, kept in a `Hash`."""

from __future__ import annotations

from kvcore.datatype import DataType
from kvcore.families.hashes import commands, rdb

TYPE: DataType | None = rdb.TYPE
COMMANDS = commands.command.commands
