"""The conformance kit on this policy."""

from __future__ import annotations

from typing import ClassVar

from kvcore.testing import Claims, PersistenceSuite


class TestRdb(PersistenceSuite):
    persistence = "rdb"
    options: ClassVar = {"save": "1 1"}
    claims = Claims(snapshots=True, background=("BGSAVE",))


class TestRdbOnDemand(PersistenceSuite):
    """Without save points nothing says that writes depend on the disk."""

    persistence = "rdb"
    claims = Claims(snapshots=True, background=("BGSAVE",), disk_error="unspecified")


class TestRdbNamed(PersistenceSuite):
    """Every snapshot has a second name, and the oldest go."""

    persistence = "rdb"
    options: ClassVar = {
        "save": "1 1",
        "snapshot_filename": "dump-%Y%m%d-%H%M%S.rdb",
        "snapshot_keep": 1,
    }
    claims = Claims(snapshots=True, background=("BGSAVE",))
