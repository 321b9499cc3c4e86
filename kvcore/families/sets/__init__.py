from __future__ import annotations

from kvcore.command import Command
from kvcore.datatype import DataType

TYPE: DataType | None = None
COMMANDS: list[Command] = []
