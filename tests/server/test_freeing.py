"""The server frees what was deleted while nobody asks for anything."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support import start_kvcore


def test_what_was_deleted_is_freed_between_the_requests(tmp_path: Path) -> None:
    with start_kvcore(tmp_path) as server:
        client = server.client()
        client.sadd("set", *range(50_000))
        client.zadd("zset", {str(number): number for number in range(50_000)})
        client.unlink("set", "zset")
        assert not client.exists("set", "zset")
        while client.info("memory")["lazyfreed_objects"] < 2:
            time.sleep(0.01)
        assert client.info("memory")["lazyfree_pending_objects"] == 0
