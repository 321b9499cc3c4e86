"""The ``kvcore`` command in this process, and data that a real redis-server wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvcore.cli import main
from tests.datasets import fill
from tests.support import start_redis


class Result:
    """Exit code, standard output and standard error of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Result]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """``run("check", path)``; asserts that no command ever shows a traceback."""

    def run(*args: object) -> Result:
        capfd.readouterr()
        code = main([str(arg) for arg in args])
        result = Result(code, *capfd.readouterr())
        assert "Traceback" not in result.err
        assert len(result.err) < 2000
        return result

    return run


def program(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"{name} is missing: apt-get install redis-tools"
    return found


def redis_check(name: str, *args: object) -> tuple[int, str]:
    """Exit code and output of redis-check-rdb or redis-check-aof."""
    command = [program(name), *[str(arg) for arg in args]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    return done.returncode, done.stdout


@pytest.fixture(scope="session")
def redis_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of redis-server: dump.rdb, and a log with a base and an increment.

    The log holds more than the snapshot: the keys ``later:…``.
    """
    folder = tmp_path_factory.mktemp("redis")
    with start_redis(folder, "--appendonly", "yes") as server:
        client = server.client()
        fill(client, keys=600, seed=7)
        client.execute_command("SELECT", 3)
        client.set("elsewhere", "x")
        client.execute_command("SELECT", 0)
        client.save()
        client.bgrewriteaof()
        while client.info("persistence")["aof_rewrite_in_progress"]:
            pass
        client.set("later:1", "a\r\nb")
        with client.pipeline(transaction=True) as pipe:
            pipe.set("later:2", "x").rpush("later:3", "y", "z").execute()
        fill(client, keys=20, seed=8, types=("hash",))
    return folder


@pytest.fixture
def folder(redis_folder: Path, tmp_path: Path) -> Path:
    """A copy of `redis_folder` to spoil."""
    copy = tmp_path / "data"
    shutil.copytree(redis_folder, copy)
    return copy


def log_files(folder: Path) -> tuple[Path, Path, Path]:
    """Manifest, base and last increment of a log."""
    inner = folder / "appendonlydir"
    (manifest,) = inner.glob("*.manifest")
    base = max(inner.glob("*.base.*"))
    return manifest, base, max(inner.glob("*.incr.aof"))


def digest(folder: Path, *args: str) -> str:
    """DEBUG DIGEST of what a real redis-server loads from a folder."""
    with start_redis(folder, *args) as server:
        found: bytes = server.client().execute_command("DEBUG", "DIGEST")
        return found.decode()
