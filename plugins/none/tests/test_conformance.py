"""The conformance kit on this policy."""

from __future__ import annotations

from kvcore.testing import Claims, PersistenceSuite


class TestNone(PersistenceSuite):
    persistence = "none"
    claims = Claims(keeps=False)
