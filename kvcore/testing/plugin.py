"""The pytest plugin of kvcore: loaded by pytest wherever kvcore is installed.

``kvcore_store``    an empty store in memory
``kvcore_server``   an empty server on a free port, in a process of its own
``--kvcore-seeds``  how many random crashes each simulation of the conformance kit goes through
``--kvcore-mutants``  how many damaged files are loaded
``--kvcore-kills``  how many times a process is killed in the midst of background work
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from kvcore.store import Store

pytest.register_assert_rewrite(
    "kvcore.testing.suite", "kvcore.testing.simulation", "kvcore.testing.fuzzing"
)

SEEDS: Final = 200
SEEDS_BATCH: Final = 25  # lives of a store to a test
SEEDS_SHARE: Final = 40  # what takes longer is done for one of so many
MUTANTS: Final = 2000
KILLS: Final = 5
MUTANTS_BATCH: Final = 100  # damaged files to a test
READY_S: Final = 60.0
ATTEMPTS: Final = 5


OPTIONS: Final = {
    "--kvcore-seeds": (SEEDS, "random crashes for each simulation of kvcore's conformance kit"),
    "--kvcore-mutants": (MUTANTS, "damaged files to load; the kit takes every tenth of them"),
    "--kvcore-kills": (KILLS, "kills of a real process in the midst of background work"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kvcore")
    for name, (default, what) in OPTIONS.items():
        group.addoption(
            name,
            default=str(default),
            metavar="N|FROM:TO",
            help=f"{what}: a number (default {default}), or a range such as 1000:2000",
        )


def pytest_configure(config: pytest.Config) -> None:
    for name in OPTIONS:
        _range(config, name)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kvcore_seed" in metafunc.fixturenames:
        seeds = _range(metafunc.config, "--kvcore-seeds")[::SEEDS_SHARE]
        metafunc.parametrize("kvcore_seed", seeds, ids=[f"seed{seed}" for seed in seeds])
    for name, option, batch in (
        ("kvcore_seeds", "--kvcore-seeds", SEEDS_BATCH),
        ("kvcore_mutants", "--kvcore-mutants", MUTANTS_BATCH),
    ):
        if name in metafunc.fixturenames:
            all_of_them = _range(metafunc.config, option)
            batches = [all_of_them[i : i + batch] for i in range(0, len(all_of_them), batch)]
            metafunc.parametrize(name, batches, ids=[f"from{b.start}" for b in batches])


@pytest.fixture
def kvcore_kills(pytestconfig: pytest.Config) -> range:
    """How often a test kills a process: seeds for the random moments."""
    return _range(pytestconfig, "--kvcore-kills")


def _range(config: pytest.Config, option: str) -> range:
    """The numbers that an option asks for."""
    text = str(config.getoption(option))
    first, _, last = text.rpartition(":")
    try:
        return range(int(first or 0), int(last))
    except ValueError:
        raise pytest.UsageError(f"{option} takes a number or FROM:TO, not {text!r}") from None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which tests of the kit were left out, and for want of which claim: never silently."""
    if "s" in terminalreporter.reportchars:
        return  # pytest says so itself
    reasons = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ")
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    )
    left_out = sorted(reason for reason in reasons if " does not claim " in reason)
    if left_out:
        terminalreporter.section("kvcore conformance: left out for want of a claim")
        for reason in left_out:
            terminalreporter.line(f"{reason}: {reasons[reason]} tests")


@pytest.fixture
def kvcore_store() -> Iterator[Store]:
    """An empty store in memory; it is closed at the end of the test."""
    import kvcore

    with kvcore.open() as store:
        yield store


class KvcoreServer:
    """A server that any Redis client may talk to: ``redis.Redis.from_url(server.url)``."""

    host: Final = "127.0.0.1"
    port: int

    def __init__(self, folder: Path) -> None:
        self._log = folder / "kvcore.log"
        for attempt in range(ATTEMPTS):
            self.port = _free_port()
            self._start(folder)
            if self._is_ready():
                return
            # Another process may have taken the port since we looked.
            if "listen" not in self.log or attempt == ATTEMPTS - 1:
                self.stop()
                pytest.fail(f"the kvcore server did not start:\n{self.log}", pytrace=False)

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    @property
    def log(self) -> str:
        """What the server has said so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def command(self, *words: str) -> bytes:
        """Send one command over a connection of its own; the reply as it comes (RESP)."""
        request = b"*%d\r\n" % len(words)
        for word in words:
            request += b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode())
        with socket.create_connection((self.host, self.port), READY_S) as connection:
            connection.sendall(request)
            return connection.recv(65536)

    def stop(self) -> None:
        """End it; nothing is kept."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(READY_S)

    def _start(self, folder: Path) -> None:
        with open(self._log, "wb") as output:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "kvcore", "--persistence", "none"),
                    *("--bind", self.host, "--port", str(self.port), "--dir", str(folder)),
                ],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _is_ready(self) -> bool:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                if self.command("PING") == b"+PONG\r\n":
                    return True
            time.sleep(0.02)
        return False


@pytest.fixture(scope="session")
def _kvcore_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KvcoreServer]:
    server = KvcoreServer(tmp_path_factory.mktemp("kvcore"))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def kvcore_server(_kvcore_server: KvcoreServer) -> KvcoreServer:
    """A server that keeps nothing, empty at the start of each test; see `KvcoreServer`.

    One process serves all tests of a run: what CONFIG SET changes stays changed.
    """
    assert _kvcore_server.command("FLUSHALL") == b"+OK\r\n"
    return _kvcore_server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((KvcoreServer.host, 0))
        return int(probe.getsockname()[1])
