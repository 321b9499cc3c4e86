"""The form that runs is the form that was asked for."""

from __future__ import annotations

import os

import kvcore.engine
from kvcore.resp import COMPILED


def test_forced_compilation_is_what_runs() -> None:
    wanted = os.environ.get("KVCORE_COMPILE")
    if wanted:
        assert (wanted == "1") == COMPILED
    assert kvcore.engine.__file__.endswith(".py") != COMPILED
