"""The data types of Redis: one folder a family, each entering by the hooks that strangers use.

``value.py`` is the structure (imports nothing of kvcore's commands), ``commands.py`` one function a
command, ``rdb.py`` the type's record with its RDB payloads.
"""

from __future__ import annotations

from kvcore.command import Command
from kvcore.datatype import DataType
from kvcore.families import hashes, keys, lists, sets, strings, zsets
from kvcore.hookspecs import hookimpl

FAMILIES = (strings, lists, sets, zsets, hashes, keys)


@hookimpl
def kvcore_types() -> list[DataType]:
    return [family.TYPE for family in FAMILIES if family.TYPE is not None]


@hookimpl
def kvcore_commands() -> list[Command]:
    return [command for family in FAMILIES for command in family.COMMANDS]
