"""Fixtures of the core's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kvcore
from tests.scripts import Compare
from tests.support import RedisServer, start_kvcore


@pytest.fixture(scope="session")
def compare(oracle: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compare]:
    """Runs a script in every way; see tests.scripts."""
    with (
        start_kvcore(tmp_path_factory.mktemp("ours"), "--persistence", "none") as ours,
        kvcore.open(
            str(tmp_path_factory.mktemp("embedded")),
            persistence="none",
            enable_debug_command="yes",
        ) as store,
    ):
        compare = Compare(oracle, ours, store)
        yield compare
        compare.close()
