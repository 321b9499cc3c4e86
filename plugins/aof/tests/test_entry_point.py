from __future__ import annotations

from kvcore.plugins import load_policy
from kvcore_aof import AofPersistence


def test_the_installed_plugin_is_selected_by_its_name() -> None:
    assert load_policy("aof") is AofPersistence
    assert AofPersistence.name == "aof"
