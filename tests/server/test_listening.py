"""Where the server listens, who is let in, and what remains of it."""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path

import pytest
import redis

from kvcore.server.listening import open_unix
from tests.processes import run, starting
from tests.support import start_kvcore


def ping(host: str, port: int) -> bool:
    with redis.Redis(host, port, protocol=2) as client:
        return bool(client.ping())


def refuses(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        return sock.connect_ex((host, port)) != 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("bind", "open_to", "closed_to"),
    [
        (["127.0.0.1"], ["127.0.0.1"], ["127.0.0.2", "::1"]),
        (["127.0.0.1", "::1"], ["127.0.0.1", "::1"], ["127.0.0.2"]),
        (["127.0.0.1", "127.0.0.2"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.3"]),
        (["::1"], ["::1"], ["127.0.0.1"]),
        (["*"], ["127.0.0.1", "127.0.0.2"], ["::1"]),
        (["*", "-::*"], ["127.0.0.1", "::1"], []),
        (["127.0.0.1", "-192.0.2.1"], ["127.0.0.1"], []),
        (["localhost"], ["127.0.0.1"], ["127.0.0.2"]),
    ],
)
def test_bind(tmp_path: Path, bind: list[str], open_to: list[str], closed_to: list[str]) -> None:
    with start_kvcore(tmp_path, "--bind", *bind) as server:
        assert all(ping(host, server.port) for host in open_to)
        assert all(refuses(host, server.port) for host in closed_to)


def test_port_and_bind_can_be_changed_at_runtime(tmp_path: Path) -> None:
    with start_kvcore(tmp_path) as server:
        client = server.client()
        old, new = server.port, free_port()
        client.config_set("port", new)
        assert refuses("127.0.0.1", old)
        assert ping("127.0.0.1", new)
        assert client.info("server")["tcp_port"] == new
        client.config_set("bind", "127.0.0.2")
        assert refuses("127.0.0.1", new)
        assert ping("127.0.0.2", new)
        client.config_set("port", 0)
        assert refuses("127.0.0.2", new)
        assert client.info("server")["tcp_port"] == 0


def test_an_address_that_cannot_be_had_changes_nothing(tmp_path: Path) -> None:
    with start_kvcore(tmp_path) as server, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        client = server.client()
        with pytest.raises(redis.ResponseError, match="Failed to bind to specified addresses"):
            client.config_set("bind", "192.0.2.1")
        with pytest.raises(redis.ResponseError, match="Unable to listen on this port"):
            client.config_set("port", other.getsockname()[1])
        assert ping("127.0.0.1", server.port)
        assert client.config_get("port") == {"port": str(server.port)}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


@pytest.mark.parametrize(("option", "mode"), [("0", 0o700), ("777", 0o777), ("660", 0o660)])
def test_the_unix_socket_has_its_mode_and_goes_with_the_server(
    tmp_path: Path, option: str, mode: int
) -> None:
    with start_kvcore(tmp_path, "--unixsocketperm", option) as server:
        path = Path(server.socket)
        assert stat.S_IMODE(path.stat().st_mode) == mode
        assert server.client().ping()
        server.stop()
        assert not path.exists()


def test_a_socket_that_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with open_unix(path, 0, 1), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data", encoding="ascii")
    ended = run("--port", "0", "--unixsocket", str(path), "--persistence", "none", cwd=tmp_path)
    assert ended.returncode == 1
    assert path.read_text(encoding="ascii") == "data"


def test_a_failed_start_takes_no_others_socket_away(tmp_path: Path) -> None:
    with start_kvcore(tmp_path) as server:
        other = tmp_path / "other"
        other.mkdir()
        args = ("--port", str(server.port), "--dir", str(other), "--unixsocket", server.socket)
        assert run(*args, "--persistence", "none", cwd=tmp_path).returncode == 1
        assert Path(server.socket).exists()
        assert server.client().ping()


def own_address() -> str:
    """An address of this machine that is not the loopback interface's; "" if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return ""
        return str(probe.getsockname()[0])


@pytest.mark.parametrize(
    ("options", "welcome"),
    [
        ((), False),
        (("--protected-mode", "no"), True),
        (("--requirepass", "x"), True),
    ],
)
def test_strangers_are_kept_out_of_a_server_without_a_password(
    tmp_path: Path, options: tuple[str, ...], welcome: bool
) -> None:
    address = own_address() or "127.0.0.1"
    local = address == "127.0.0.1"  # a machine without network: nobody is a stranger
    with start_kvcore(tmp_path, "--bind", "*", *options) as server:
        with socket.create_connection((address, server.port), 30) as sock:
            sock.sendall(b"PING\r\n")
            answer = sock.recv(100)
        assert answer.startswith(b"-DENIED ") is not (welcome or local)


def test_connections_are_kept_alive_as_configured(tmp_path: Path) -> None:
    with (
        start_kvcore(tmp_path, "--tcp-keepalive", "77") as server,
        redis.Redis("127.0.0.1", server.port) as client,
    ):
        client.ping()
        deadline = time.monotonic() + 30
        # At first another timer may run, until what the server sent is acknowledged.
        while not timer_of_connection(server.port).startswith("02:"):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def timer_of_connection(port: int) -> str:
    """The timer of the server's end of its connection as the kernel tells it; 02 is keepalive."""
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines():
        _, local, _, state, _, timer, *_ = line.split()
        if local.endswith(f":{port:04X}") and state == "01":
            return timer
    return ""


def test_the_pid_file_lives_as_long_as_the_process(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with start_kvcore(tmp_path, "--pidfile", str(file)) as server:
        assert file.read_text(encoding="ascii") == f"{server.pid}\n"
        server.stop()
    assert not file.exists()


def test_a_pid_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    with start_kvcore(tmp_path, "--pidfile", str(tmp_path / "no" / "pid")) as server:
        assert server.client().ping()
        assert "pid file cannot be written" in server.log


@pytest.mark.parametrize("supervised", ["systemd", "auto", "no"])
def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervised: str) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        with starting(tmp_path, "--persistence", "none", "--supervised", supervised) as server:
            if supervised == "no":
                manager.setblocking(False)
            else:
                assert manager.recv(100).startswith(b"READY=1\n")
            server.process.terminate()
            assert server.wait() == 0
        if supervised == "no":
            with pytest.raises(BlockingIOError):
                manager.recv(100)
        else:
            assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.behaviour("process", "keeps its number, equal to INFO process_id")
def test_the_process_keeps_its_number(tmp_path: Path) -> None:
    with start_kvcore(tmp_path) as server:
        assert f"PID: {server.pid}" in server.log
        assert server.client().info("server")["process_id"] == server.pid
        assert os.getpgid(server.pid) == server.pid
