"""What a script does besides its replies: key events, journal and dirty count, of Redis and of us.

with effects_of_redis(tmp_path / "redis") as redis, effects_of_kvcore(tmp_path / "ours") as ours:
    assert ours(script) == redis(script)
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import redis

import kvcore
from kvcore.errors import CommandError
from tests.scripts import parse, read_reply
from tests.support import start_redis


@attrs.frozen
class Effects:
    """``events`` as "name key", ``journal`` as lines of words, ``dirty`` as Redis counts it."""

    events: list[str]
    journal: list[str]
    dirty: int


Run = Callable[[str], Effects]


@contextlib.contextmanager
def effects_of_redis(directory: Path) -> Iterator[Run]:
    """Runs scripts on a redis-server, one after the other; its AOF is its journal."""
    directory.mkdir()
    options = ("--appendonly", "yes", "--appendfsync", "always", "--notify-keyspace-events", "EA")
    with start_redis(directory, *options) as server:
        client = server.client()
        pubsub = server.client().pubsub()
        pubsub.psubscribe("__keyevent@0__:*")
        pubsub.get_message(timeout=10)

        def run(script: str) -> Effects:
            log = directory / "appendonlydir" / "appendonly.aof.1.incr.aof"
            before = log.stat().st_size
            changes = client.info("persistence")["rdb_changes_since_last_save"]
            for step in parse(script):
                with contextlib.suppress(redis.ResponseError):
                    client.execute_command(*step.argv)
            events = []
            client.execute_command("PUBLISH", "__keyevent@0__:end", "")
            while message := pubsub.get_message(timeout=10):
                event = message["channel"].decode().partition(":")[2]
                if event == "end":
                    break
                events.append(f"{event} {message['data'].decode()}")
            stream = io.BytesIO(log.read_bytes()[before:])
            lines = []
            while stream.tell() < len(stream.getbuffer()):
                argv = read_reply(stream)
                assert isinstance(argv, list)
                if argv[0].upper() != b"SELECT":
                    lines.append(b" ".join(argv).decode())
            dirty = client.info("persistence")["rdb_changes_since_last_save"] - changes
            return Effects(events, lines, dirty)

        yield run
        pubsub.close()


class Recorder:
    """Keeps what observers are told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.journal: list[str] = []

    @kvcore.hookimpl
    def key_event(self, event: str, key: bytes) -> None:
        self.events.append(f"{event} {key.decode()}")

    @kvcore.hookimpl
    def after_write(self, batch: kvcore.Batch) -> None:
        self.journal += [b" ".join(argv).decode() for _, argv in batch.commands]


@contextlib.contextmanager
def effects_of_kvcore(directory: Path) -> Iterator[Run]:
    """Runs scripts on an embedded store, one after the other."""
    recorder = Recorder()
    with kvcore.open(str(directory), persistence="none", hooks=[recorder]) as store:

        def run(script: str) -> Effects:
            recorder.events.clear()
            recorder.journal.clear()
            keyspace = store.instance.keyspace
            before = keyspace.dirty
            for step in parse(script):
                with contextlib.suppress(CommandError):
                    store.execute(*step.argv)
            dirty = keyspace.dirty - before
            return Effects(recorder.events.copy(), recorder.journal.copy(), dirty)

        yield run
