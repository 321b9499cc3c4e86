"""The conformance kit: what every author of a persistence policy runs, and storage that fails.

Three lines make all tests of the contract (`kvcore.persistence`) run on a policy::

    from kvcore.testing import Claims, PersistenceSuite

    class TestMine(PersistenceSuite):
        persistence = "mine"
        claims = Claims(log=True, survives_kill=True)

``pytest --kvcore-seeds 10000 --kvcore-mutants 100000`` simulates more crashes and damages more
files than usual. The fixtures that come along (`kvcore.testing.plugin`) serve any program that uses
kvcore: ``kvcore_store`` is an empty store in memory, ``kvcore_server`` a server to connect to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvcore.testing.claims import Claims
from kvcore.testing.storage import FaultyStorage, PowerFailure

if TYPE_CHECKING:
    from kvcore.testing.suite import PersistenceSuite

__all__ = ["Claims", "FaultyStorage", "PersistenceSuite", "PowerFailure"]


def __getattr__(name: str) -> object:
    # The suite needs pytest, and pytest must be told to rewrite its assertions before it is there.
    if name == "PersistenceSuite":
        from kvcore.testing.suite import PersistenceSuite

        return PersistenceSuite
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
