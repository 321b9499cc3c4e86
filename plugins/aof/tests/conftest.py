"""Fixtures of this plugin's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.aof.tests.harness import Disk, Opener


@pytest.fixture
def opener(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Opener]:
    opener = Opener(tmp_path, method=getattr(request, "param", "fork"))
    yield opener
    opener.close()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)
