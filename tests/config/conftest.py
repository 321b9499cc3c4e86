"""An oracle whose configuration may be changed, and one that only reads a file."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from kvcore.config import Config
from kvcore.errors import CommandError, ConfigError
from tests.support import RedisServer, start_redis

Refusal = tuple[int, str, str]
"""Line, text of the line, reason."""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for one module, which may leave its configuration as it likes."""
    with start_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def config_get(redis: RedisServer) -> Callable[..., dict[bytes, bytes]]:
    client = redis.client(raw=True)

    def get(*patterns: str | bytes) -> dict[bytes, bytes]:
        reply = client.execute_command("CONFIG", "GET", *patterns)
        return dict(zip(reply[::2], reply[1::2]))

    return get


@pytest.fixture
def config_set(redis: RedisServer) -> Callable[..., str]:
    """CONFIG SET: the reply, or the text of the error."""
    client = redis.client(raw=True)

    def call(*args: str | bytes) -> str:
        try:
            reply: bytes = client.execute_command("CONFIG", "SET", *args)
        except ResponseError as error:
            return f"ERR {error}"  # the code that redis-py cuts off
        return reply.decode()

    return call


@pytest.fixture
def redis_reads(tmp_path: Path) -> Callable[..., Refusal | None]:
    """What redis-server refuses in a file with this text; None if it reads to the end of it."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.fail("redis-server is missing: apt-get install redis-server", pytrace=False)

    def read(text: bytes, *args: str) -> Refusal | None:
        # Whatever it accepts, it stops at the last line, so no server ever runs.
        file = tmp_path / "redis.conf"
        file.write_bytes(text)
        ended = subprocess.run(
            [program, str(file), *args, "--no-such-directive", "x"],
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
            check=False,
        )
        output = (ended.stdout + ended.stderr).decode(errors="surrogateescape")
        found = re.search(r"at line (\d+)\n>>> '(.*)'\n(.*)\n", output)
        assert found, output
        return None if "no-such-directive" in found[2] else (int(found[1]), found[2], found[3])

    return read


def kvcore_reads(config: Config, text: bytes, *args: str) -> Refusal | None:
    """The same of ours; the lines of `args` count on from those of `text`, as Redis counts."""
    try:
        config.load_text(text, "redis.conf")
        config.load_argv(args)
    except ConfigError as error:
        before = text.count(b"\n") + 1 if error.path != "redis.conf" else 0
        return before + error.line, error.text, error.why
    return None


def kvcore_sets(config: Config, *args: str | bytes) -> str:
    """CONFIG SET of ours: the reply, or the text of the error."""
    words = [arg.encode() if isinstance(arg, str) else arg for arg in args]
    try:
        config.set_many(list(zip(words[::2], words[1::2])))
    except CommandError as error:
        return str(error)
    return "OK"
