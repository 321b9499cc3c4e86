"""The conformance kit on this policy: as Redis is configured by default, and at its safest."""

from __future__ import annotations

from typing import ClassVar

from kvcore.testing import Claims, PersistenceSuite


class TestEverySecond(PersistenceSuite):
    persistence = "hybrid"
    options: ClassVar = {"appendfsync": "everysec", "save": "1 1"}
    claims = Claims(
        log=True,
        snapshots=True,
        loses_at_most=2.0,
        background=("BGSAVE", "BGREWRITEAOF"),
        tears="zeros",
    )


class TestAlways(PersistenceSuite):
    persistence = "hybrid"
    options: ClassVar = {"appendfsync": "always"}
    claims = Claims(
        log=True,
        snapshots=True,
        survives_kill=True,
        survives_power=True,
        background=("BGSAVE", "BGREWRITEAOF"),
        disk_error="stop",
        tears="zeros",
    )
