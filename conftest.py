"""Fixtures of all tests, those of the plugins included; processes to start are in tests.support."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support import RedisServer, start_redis

pytest_plugins = ["tests.behaviours"]

# No deadline: a stalled machine is no failure. With CI set every run draws the same examples,
# so that a red run is due to the change; people's runs keep looking for new ones.
settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A real redis-server, one for each worker, and empty at the start of each test.

    A test that changes its configuration starts a server of its own: tests.support.start_redis.
    """
    with start_redis(tmp_path_factory.mktemp("oracle")) as server:
        yield server


@pytest.fixture(autouse=True)
def _empty_oracle(request: pytest.FixtureRequest) -> None:
    if "oracle" in request.fixturenames:
        client = request.getfixturevalue("oracle").client(raw=True)
        client.execute_command("FLUSHALL")
        client.close()
