"""Fixtures of the codecs' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.codec.reference import OPTIONS, Reference
from tests.support import start_redis


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reference]:
    """A redis-server to compare with, configured to keep values packed.

    It is one for all tests and not emptied between them: they name their key and clear it.
    """
    with start_redis(tmp_path_factory.mktemp("reference"), *OPTIONS) as server:
        yield Reference(server.client(raw=True))
