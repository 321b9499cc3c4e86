"""The conformance kit on this policy. Its database goes past the storage: nothing is simulated."""

from __future__ import annotations

from kvcore.testing import Claims, PersistenceSuite


class TestSqlite(PersistenceSuite):
    persistence = "sqlite"
    claims = Claims(log=True, survives_kill=True, survives_power=True, storage=False)
