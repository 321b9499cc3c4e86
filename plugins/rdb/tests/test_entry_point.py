from __future__ import annotations

from kvcore.plugins import load_policy
from kvcore_rdb import RdbPersistence


def test_the_installed_plugin_is_selected_by_its_name() -> None:
    assert load_policy("rdb") is RdbPersistence
    assert RdbPersistence.name == "rdb"
