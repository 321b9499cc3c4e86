"""The oracle is what other tests believe, so it is tested too."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from tests.support import RedisServer, ServerExited, start_redis


@pytest.mark.parametrize("turn", ["first", "second"])
def test_every_test_finds_the_oracle_empty(oracle: RedisServer, turn: str) -> None:
    client = oracle.client()
    assert client.dbsize() == 0
    client.set(b"k", b"v", ex=100)


@pytest.mark.parametrize(("protocol", "expected"), [(2, [b"f", b"v"]), (3, {b"f": b"v"})])
def test_raw_replies_are_those_of_the_wire(
    oracle: RedisServer, protocol: int, expected: object
) -> None:
    client = oracle.client(protocol, raw=True)
    assert client.execute_command("SET", b"s", b"v") == b"OK"
    assert client.execute_command("HSET", b"h", b"f", b"v") == 1
    assert client.execute_command("HGETALL", b"h") == expected


def test_answers_on_tcp_too(oracle: RedisServer) -> None:
    with redis.Redis(port=oracle.port) as client:
        assert client.ping()


def test_stop_saves_where_save_points_are_set_and_kill_does_not(tmp_path: Path) -> None:
    with start_redis(tmp_path, "--save", "3600", "1") as server:
        server.client().set(b"k", b"saved")
        assert server.stop() == 0
    with start_redis(tmp_path, "--save", "3600", "1") as server:
        assert server.client().get(b"k") == b"saved"
        server.client().set(b"k", b"lost")
        server.kill()
    with start_redis(tmp_path) as server:
        assert server.client().get(b"k") == b"saved"


def test_a_refusal_to_start_carries_its_reason(tmp_path: Path) -> None:
    (tmp_path / "dump.rdb").write_bytes(b"not an RDB file")
    with pytest.raises(ServerExited, match="Wrong signature") as caught:
        start_redis(tmp_path)
    assert caught.value.returncode == 1


def test_a_server_with_a_password_counts_as_ready(tmp_path: Path) -> None:
    with (
        start_redis(tmp_path, "--requirepass", "secret") as server,
        pytest.raises(redis.AuthenticationError),
    ):
        server.client().get(b"k")


def test_a_missing_redis_server_fails_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match="apt-get install redis-server"):
        start_redis(tmp_path)
