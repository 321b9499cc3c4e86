"""The form that runs is the form that was asked for."""

from __future__ import annotations

import os

import kvcore.engine
from kvcore.version import compiled


def test_forced_compilation_is_what_runs() -> None:
    wanted = os.environ.get("KVCORE_COMPILE")
    if wanted:
        assert compiled() == (wanted == "1")
    assert compiled() == (not kvcore.engine.__file__.endswith(".py"))
