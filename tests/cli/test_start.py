"""How the server starts, and what it says when it cannot: one clear sentence, and exit code 1."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from kvcore.version import __version__
from tests.processes import PROGRAM, run, starting
from tests.support import start_kvcore


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield int(sock.getsockname()[1])


# Arguments, and what has to be said. {port} is taken; `locked` is the folder of a running store.
REFUSED = {
    "unknown directive": (["--foo", "bar"], r"Bad directive or wrong number of arguments"),
    "no argument": (["--port"], r">>> 'port'\nwrong number of arguments"),
    "no number": (["--port", "abc"], r"argument couldn't be parsed into an integer"),
    "out of range": (["--port", "65536"], r"argument must be between 0 and 65535 inclusive"),
    "wrong word": (["--appendfsync", "often"], r"argument\(s\) must be one of the following"),
    "missing file": (["nosuch.conf"], r"can't open config file '.*nosuch.conf': No such file"),
    "file is a folder": (["folder"], r"can't open config file '.*folder': Is a directory"),
    "missing plugin": (["--persistence", "nosuch"], r"persistence 'nosuch' is not installed"),
    "port taken": (["--port", "{port}"], r"Failed listening on port \d+.*\n.*cannot listen on"),
    "foreign address": (["--bind", "192.0.2.1"], r"cannot listen on 192.0.2.1:\d+: Cannot assign"),
    "no such host": (["--bind", "no.such.host.invalid"], r"cannot listen on no.such.host.invalid"),
    "nowhere to listen": (["--port", "0"], r"Configured to not listen anywhere"),
    "bad socket": (
        ["--unixsocket", "no/such/s"],
        r"cannot make the Unix socket no/such/s: No such",
    ),
    "long socket": (
        ["--port", "0", "--unixsocket", "x" * 200],
        r"cannot make the Unix socket x+: .*too long",
    ),
    "bad mode": (["--unixsocketperm", "999"], r"argument couldn't be parsed as an octal number"),
    "dir is a file": (["--dir", "file"], r"Not a directory"),
    "locked folder": (["--dir", "locked"], r"the data folder .*locked is open in another store"),
    "bad log file": (
        ["--logfile", "no/such/log"],
        r"Can't open the log file: .*no/such/log: No such",
    ),
    "broken snapshot": (
        ["--persistence", "rdb", "--dir", "broken"],
        r"broken/dump.rdb.*The file was left as it is",
    ),
    "contradiction": (
        ["--appendonly", "yes", "--persistence", "rdb"],
        r"it contradicts persistence",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_start_that_fails_says_why_in_a_sentence(tmp_path: Path, case: str) -> None:
    args, expected = REFUSED[case]
    (tmp_path / "folder").mkdir()
    (tmp_path / "locked").mkdir()
    (tmp_path / "file").write_text("x", encoding="ascii")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "dump.rdb").write_bytes(b"REDIS0011\xfa garbage")
    before = (tmp_path / "broken" / "dump.rdb").read_bytes()
    with contextlib.ExitStack() as stack:
        if case == "locked folder":
            stack.enter_context(starting(tmp_path / "locked", "--persistence", "none"))
        words = [word.format(port=stack.enter_context(taken_port())) for word in args]
        file = words.pop(0) if not words[0].startswith("--") else None
        if not {"--port", "--bind", "--unixsocket"} & set(words):
            words = ["--port", "0", "--unixsocket", "s", *words]
        ended = run(*([file] if file else []), *words, cwd=tmp_path)
    assert ended.returncode == 1, ended.stdout
    assert re.search(expected, ended.stdout), ended.stdout
    assert "Traceback" not in ended.stdout
    assert (tmp_path / "broken" / "dump.rdb").read_bytes() == before


def test_a_wrong_line_is_shown_as_redis_shows_it(tmp_path: Path) -> None:
    file = tmp_path / "bad.conf"
    file.write_text("# fine\nport 0\n\nmaxclients many\n", encoding="ascii")
    ended = run(str(file), cwd=tmp_path)
    assert ended.returncode == 1
    assert "FATAL CONFIG FILE ERROR" in ended.stdout
    assert f"at line 4 of {file}" in ended.stdout
    assert ">>> 'maxclients many'" in ended.stdout


def test_the_configuration_may_come_from_stdin(tmp_path: Path) -> None:
    ended = run("-", cwd=tmp_path, stdin="port 0\nmaxclients many\n")
    assert ended.returncode == 1
    assert "at line 2 of <stdin>" in ended.stdout


@pytest.mark.parametrize("option", ["-v", "--version"])
def test_the_version_can_be_parsed(tmp_path: Path, option: str) -> None:
    ended = run(option, cwd=tmp_path)
    assert ended.returncode == 0
    assert re.match(rf"kvcore server v={re.escape(__version__)} redis=\d+\.\d+\.\d+ ", ended.stdout)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_what_there_is(tmp_path: Path, option: str) -> None:
    ended = run(option, cwd=tmp_path)
    assert ended.returncode == 0
    assert "--persistence" in ended.stdout


# The log ------------------------------------------------------------------------------------------


def test_elsewhere_than_on_a_terminal_the_log_is_json(tmp_path: Path) -> None:
    with start_kvcore(tmp_path) as server:
        server.stop()
        entries = [json.loads(line) for line in server.log.splitlines()]
    events = [entry["event"] for entry in entries]
    assert f" PID: {server.pid}" in events[0]
    assert events.index("Server initialized") < events.index("Ready to accept connections tcp")
    assert events[-1].endswith("bye bye...")
    assert all({"level", "timestamp"} <= entry.keys() for entry in entries)


def test_a_log_file_may_be_moved_away(tmp_path: Path) -> None:
    log = tmp_path / "kvcore.log"
    with start_kvcore(tmp_path, "--logfile", "kvcore.log") as server:
        assert server.log == ""
        assert "Server initialized" in log.read_text(encoding="utf-8")
        log.rename(tmp_path / "old.log")
        server.stop()
        assert "bye bye" in log.read_text(encoding="utf-8")


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    with start_kvcore(tmp_path, "--logfile", str(folder / "log")) as server:
        (folder / "log").unlink()
        folder.rmdir()
        client = server.client()
        with pytest.raises(redis.ConnectionError):
            client.execute_command("POST")  # is logged
        assert client.ping()


def test_syslog_is_accepted(tmp_path: Path) -> None:
    args = ("--syslog-enabled", "yes", "--syslog-ident", "kv", "--syslog-facility", "local3")
    with start_kvcore(tmp_path, *args) as server:
        assert server.client().ping()
        assert "Server initialized" in server.log


def test_what_pytest_redis_passes_is_accepted(tmp_path: Path) -> None:
    args = [
        *("--daemonize", "no", "--rdbcompression", "yes", "--rdbchecksum", "yes"),
        *("--pidfile", str(tmp_path / "pid"), "--logfile", str(tmp_path / "log")),
        *("--timeout", "0", "--loglevel", "notice", "--syslog-enabled", "no", "--databases", "8"),
        *("--save", "3600", "1"),
    ]
    with start_kvcore(tmp_path, *args) as server:
        assert server.client().config_get("databases") == {"databases": "8"}
        assert server.client().config_get("save") == {"save": "3600 1"}


def test_directives_without_a_meaning_here_are_named(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, "--io-threads", "4", "--disable-thp", "no") as server:
        warning = next(line for line in server.log.splitlines() if "without a meaning" in line)
        assert json.loads(warning)["names"] == ["io-threads", "disable-thp"]


# The process --------------------------------------------------------------------------------------


def test_a_daemon_leaves_its_pid_and_answers(tmp_path: Path) -> None:
    path, pid_file = tmp_path / "s", tmp_path / "pid"
    args = ["--daemonize", "yes", "--pidfile", "pid", "--logfile", "log", "--dir", str(tmp_path)]
    args += ["--port", "0", "--unixsocket", "s", "--persistence", "none"]
    ended = run(*args, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "")
    wait_for(lambda: path.exists() and pid_file.exists() and pid_file.read_text() != "")
    pid = int(pid_file.read_text(encoding="ascii"))
    try:
        with redis.Redis(unix_socket_path=str(path)) as client:
            wait_for(lambda: "Ready" in (tmp_path / "log").read_text(encoding="utf-8"))
            assert client.info("server")["process_id"] == pid
            assert os.getsid(pid) == pid  # no terminal's
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not pid_file.exists())
    assert "bye bye" in (tmp_path / "log").read_text(encoding="utf-8")


def test_relative_names_are_those_of_the_data_folder(tmp_path: Path) -> None:
    args = ["--port", "0", "--unixsocket", "s", "--logfile", "log", "--persistence", "none"]
    process = subprocess.Popen([*PROGRAM, "--dir", "data/deep", *args], cwd=tmp_path)
    try:
        wait_for((tmp_path / "data" / "deep" / "s").exists)
        assert (tmp_path / "data" / "deep" / "log").exists()
    finally:
        process.terminate()
        assert process.wait(60) == 0


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 30
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


# A terminal ---------------------------------------------------------------------------------------


class Terminal:
    """A server on a terminal of its own; stderr comes apart if `split`."""

    def __init__(self, directory: Path, *args: str, program: list[str] | None = None) -> None:
        self._leader, follower = pty.openpty()
        path = directory / "s"
        words = ["--port", "0", "--unixsocket", str(path), "--dir", str(directory), *args]
        self.process = subprocess.Popen(
            [*(program or PROGRAM), *words],
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=follower,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        )
        os.close(follower)

    def read_until(self, text: bytes) -> bytes:
        said = b""
        while text not in said:
            said += os.read(self._leader, 4096)
        return said

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._leader)


# A policy that loads so many bytes.
BIG = """
import sys, time
from kvcore import Persistence
from kvcore.cli import server
from kvcore import plugins

class Big(Persistence):
    name = "big"

    def load(self, loader):
        for done in range(0, SIZE + 1, SIZE // 20):
            loader.progress(done, SIZE)
            time.sleep(0.02)

plugins.load_policy = lambda name: Big
sys.exit(server.main())
"""


@pytest.mark.parametrize(("size", "shown"), [(64 << 20, True), (1 << 20, False)])
def test_a_big_load_shows_a_bar_on_a_terminal(tmp_path: Path, size: int, shown: bool) -> None:
    program = [sys.executable, "-c", BIG.replace("SIZE", str(size))]
    terminal = Terminal(tmp_path, program=program)
    try:
        said = terminal.read_until(b"Ready to accept connections")
    finally:
        terminal.stop()
    assert (b"Loading" in said) is shown
    assert (b"MB" in said) is shown
    assert b'{"event"' not in said  # pretty, for people


def test_nowhere_else_is_there_a_bar(tmp_path: Path) -> None:
    program = [sys.executable, "-c", BIG.replace("SIZE", str(64 << 20))]
    with starting(tmp_path, program=program, ready=True) as server:
        assert "Loading" not in server.log
        assert all(line.startswith("{") for line in server.log.splitlines())
