"""The conformance kit on this policy, for each ``appendfsync`` and both kinds of base.

``tears="zeros"``: Redis' format has no checksums, so that a hole inside unsynced bytes looks like
damage (or like a value). The start is refused then, and a person has to look.
"""

from __future__ import annotations

from typing import ClassVar

from kvcore.testing import Claims, PersistenceSuite


class TestAlways(PersistenceSuite):
    persistence = "aof"
    options: ClassVar = {"appendfsync": "always"}
    claims = Claims(
        log=True,
        snapshots=True,
        survives_kill=True,
        survives_power=True,
        background=("BGREWRITEAOF",),
        disk_error="stop",
        tears="zeros",
    )


class TestEverySecond(PersistenceSuite):
    persistence = "aof"
    options: ClassVar = {"appendfsync": "everysec"}
    claims = Claims(
        log=True,
        snapshots=True,
        loses_at_most=2.0,
        background=("BGREWRITEAOF",),
        tears="zeros",
    )


class TestNo(PersistenceSuite):
    persistence = "aof"
    options: ClassVar = {"appendfsync": "no", "aof-use-rdb-preamble": False}
    claims = Claims(
        log=True,
        snapshots=True,
        survives_kill=True,
        background=("BGREWRITEAOF",),
        tears="zeros",
    )
