"""Values that lie in the keyspace as they lie in an RDB file, until a command touches them.

A small hash, list, set or sorted set costs 1 to 1.5 KB as Python objects, and as RDB has it
(a listpack, an intset) a fifth of that. So the keyspace holds its payload instead: what an RDB file
brought stays as it lay there (`Loader`), what one command makes of nothing is packed from the
beginning (each family's ``born_packed``), and what was unpacked is packed again when the command is
over (`Keyspace.tidy`), but for what is used often.

Packed values are immutable. Commands never see one: `Database.lookup` and `find` give them the
live value. Whatever handles values of any type asks the registry, as ever, and need not know:
``types.of(packed)`` is a `DataType` like the others (see kvcore.datatype.PackedForm).

This module stays uncompiled: mypyc has no native subclasses of bytes. And bytes it must be,
without slots: one object, which the garbage collector has not to visit.
"""

from __future__ import annotations

from typing import cast


class Packed(bytes):
    """A value's payload in an RDB file. Each type code has a subclass: see `form`."""

    __slots__ = ()


def form(name: str) -> type[Packed]:
    """A subclass for the payloads of one RDB type code."""
    return cast("type[Packed]", type(name, (Packed,), {"__slots__": ()}))
