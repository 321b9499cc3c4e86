"""Lists: see ``value.py`` for their structure."""

from __future__ import annotations

from kvcore.datatype import DataType
from kvcore.families.lists import commands, rdb

TYPE: DataType | None = rdb.TYPE
COMMANDS = commands.command.commands
