"""Sorted sets: members in the order of their scores, kept in a `ZSet`."""

from __future__ import annotations

from kvcore.datatype import DataType
from kvcore.families.zsets import algebra, commands, ranges, rdb

TYPE: DataType | None = rdb.TYPE
COMMANDS = [*commands.command.commands, *ranges.command.commands, *algebra.command.commands]
