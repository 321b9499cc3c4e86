"""kill -9 in the midst of BGSAVE and BGREWRITEAOF: of the parent, of its child, of both."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
import redis

from kvcore_aof import manifest
from tests.support import RedisServer, start_kvcore

KEYS = 60
DELAY_US = 1000  # for each key that a child writes: it takes about KEYS of these
SECONDS = 30.0

ALWAYS = ("--appendfsync", "always")
NAMED = ("--snapshot-filename", "dump-%H%M%S.rdb", "--snapshot-keep", "2")


class Life:
    """One server on the folder, with numbers written to it until it is killed.

    ``saved``    numbers that the last snapshot holds whose end was seen
    ``begun``    numbers that a snapshot holds whose end was not
    ``written``  numbers that were acknowledged
    """

    def __init__(self, server: RedisServer, present: int) -> None:
        self.server = server
        self.client = server.client()
        self.saved = self.begun = self.written = present

    def write(self) -> None:
        pipeline = self.client.pipeline(transaction=True)
        pipeline.rpush("numbers", self.written + 1)
        pipeline.set("last", self.written + 1)
        pipeline.execute()
        self.written += 1

    def background(self, command: str) -> None:
        self.begun = self.written
        self.client.execute_command(command)

    def write_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.write()

    def end(self, whom: str, command: str) -> None:
        """Kill, at this moment; a parent whose child was killed finds out, and works on."""
        if whom == "child":
            for child in children(self.server.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self._wait_for_child()
            if self._was_successful(command):
                self.saved = self.begun
            self.write()
        if whom == "parent":
            os.kill(self.server.pid, signal.SIGKILL)
            self.server.wait()
        else:
            self.server.kill()

    def _wait_for_child(self) -> None:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            info = self.client.info("persistence")
            if not info["rdb_bgsave_in_progress"] and not info["aof_rewrite_in_progress"]:
                return
            time.sleep(0.005)
        pytest.fail(f"the server has not noticed the end of its child:\n{self.server.log}")

    def _was_successful(self, command: str) -> bool:
        field = "rdb_last_bgsave_status" if command == "BGSAVE" else "aof_last_bgrewrite_status"
        return bool(self.client.info("persistence")[field] == "ok")


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def present(server: RedisServer) -> int:
    """How many numbers are there: all from 1 on, and transactions whole."""
    client = server.client()
    numbers = [int(number) for number in client.lrange("numbers", 0, -1)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert int(client.get("last") or 0) == len(numbers), "a transaction was torn"
    return len(numbers)


def check_files(folder: Path, named: int) -> None:
    """There is nothing but what a young store has: no temporary file, nothing unnamed."""
    names = {path.name for path in folder.iterdir()} - {"dump.rdb", "kvcore.lock", "appendonlydir"}
    snapshots = {name for name in names if re.fullmatch(r"dump-\d{6}\.rdb", name)}
    assert names == snapshots
    assert len(snapshots) <= named
    logs = folder / "appendonlydir"
    if logs.exists():
        parts = manifest.parse((logs / "appendonly.aof.manifest").read_bytes()).parts
        kept = {part.name for part in parts} | {"appendonly.aof.manifest"}
        assert {path.name for path in logs.iterdir()} == kept


@pytest.mark.behaviour("BGSAVE", "kill -9 of parent, child or both at any moment: old or new")
@pytest.mark.behaviour("BGREWRITEAOF", "kill -9 of parent, child or both at any moment: no loss")
@pytest.mark.parametrize(
    ("persistence", "command", "options"),
    [
        ("rdb", "BGSAVE", ()),
        ("rdb", "BGSAVE", NAMED),
        ("hybrid", "BGSAVE", ALWAYS),
        ("hybrid", "BGREWRITEAOF", ALWAYS),
        ("aof", "BGREWRITEAOF", ALWAYS),
        ("aof", "BGREWRITEAOF", (*ALWAYS, "--aof-use-rdb-preamble", "no")),
    ],
    ids=["rdb", "rdb-named", "hybrid-save", "hybrid-rewrite", "aof", "aof-commands"],
)
def test_nothing_is_lost_and_nothing_stays(
    tmp_path: Path,
    persistence: str,
    command: str,
    options: tuple[str, ...],
    kvcore_kills: range,
) -> None:
    options = ("--persistence", persistence, "--rdb-key-save-delay", str(DELAY_US), *options)
    allowed = {0}
    for seed in kvcore_kills:
        chance = random.Random(seed)
        with start_kvcore(tmp_path, *options) as server:
            found = present(server)
            assert found in allowed, f"seed {seed}: {found} of {sorted(allowed)[-3:]}"
            check_files(tmp_path, named=2 if options[-4:] == NAMED else 0)
            life = Life(server, found)
            for key in range(KEYS):
                life.client.set(f"key{key}", seed)
            life.write_for(0.02)
            whom = chance.choice(("parent", "child", "both"))
            try:
                life.background(command)
                life.write_for(chance.random() * KEYS * DELAY_US / 1e6 * 2)
                life.end(whom, command)
            except redis.ConnectionError:
                pytest.fail(f"the server ended by itself:\n{server.log}")
        allowed = {life.saved, life.begun} if persistence == "rdb" else {life.written}
    with start_kvcore(tmp_path, *options) as server:
        assert present(server) in allowed
        check_files(tmp_path, named=2 if options[-4:] == NAMED else 0)
