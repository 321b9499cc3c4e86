"""kill -9 under concurrent writers with ``appendfsync always``: no acknowledged write is lost."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest
import redis

from tests.support import RedisServer, start_kvcore

WRITERS = 8
ROUNDS = 10  # for each of two policies


class Writer(threading.Thread):
    """Appends numbers to a list of its own, and pairs in transactions, until the server dies.

    ``acknowledged`` is the last number whose reply arrived.
    """

    def __init__(self, server: RedisServer, number: int, start: int) -> None:
        super().__init__(daemon=True)
        # Its own: server.kill() closes those that it handed out, under our feet.
        self.client = redis.Redis(unix_socket_path=str(server.socket))
        self.number = number
        self.acknowledged = start

    def run(self) -> None:
        value = self.acknowledged
        try:
            while True:
                value += 1
                pipe = self.client.pipeline(transaction=True)
                pipe.rpush(f"list:{self.number}", value)
                pipe.set(f"last:{self.number}", value)
                pipe.execute()
                self.acknowledged = value
        except redis.ConnectionError:
            pass


def writers_until_killed(server: RedisServer, starts: list[int], seconds: float) -> list[int]:
    """Run writers, kill the server in their midst; what each had acknowledged."""
    writers = [Writer(server, number, start) for number, start in enumerate(starts)]
    for writer in writers:
        writer.start()
    time.sleep(seconds)
    server.kill()
    for writer in writers:
        writer.join(10)
        assert not writer.is_alive()
    return [writer.acknowledged for writer in writers]


def found(server: RedisServer) -> list[int]:
    """What each writer's list holds: numbers from 1 without a gap; returns the last ones."""
    client = server.client()
    lasts = []
    for number in range(WRITERS):
        values = [int(value) for value in client.lrange(f"list:{number}", 0, -1)]
        assert values == list(range(1, len(values) + 1))
        # A transaction is there whole or not at all.
        assert int(client.get(f"last:{number}") or 0) == len(values)
        lasts.append(len(values))
    return lasts


@pytest.mark.behaviour("appendfsync", "`always`: kill -9 under load loses no acknowledged write")
@pytest.mark.parametrize("policy", ["aof", "hybrid"])
def test_no_acknowledged_write_is_lost(tmp_path: Path, policy: str) -> None:
    dice = random.Random(policy)
    options = ("--persistence", policy, "--appendfsync", "always")
    acknowledged = [0] * WRITERS
    for _ in range(ROUNDS):
        with start_kvcore(tmp_path, *options) as server:
            present = found(server)
            for last, promised in zip(present, acknowledged, strict=True):
                assert last >= promised
            acknowledged = writers_until_killed(server, present, 0.1 + dice.random() * 0.4)
    assert sum(acknowledged) > WRITERS * ROUNDS
    with start_kvcore(tmp_path, *options) as server:
        for last, promised in zip(found(server), acknowledged, strict=True):
            assert last >= promised
