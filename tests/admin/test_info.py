"""INFO: the sections and fields of Redis, and that their values are true."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

import kvcore
from tests.processes import starting
from tests.scripts import Connection, VerbatimText
from tests.support import RedisServer, start_kvcore, start_redis

SECTIONS = [
    *("server", "clients", "memory", "persistence", "stats", "replication", "cpu", "modules"),
    *("commandstats", "errorstats", "latencystats", "cluster", "keyspace"),
]
# What these two list depends on what happened before.
VARIABLE = {"commandstats", "latencystats"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with start_kvcore(tmp_path_factory.mktemp("info"), "--persistence", "none") as server:
        yield server


def raw(server: RedisServer, *sections: bytes) -> str:
    reply = server.client(raw=True).execute_command("INFO", *sections)
    assert isinstance(reply, bytes)
    return reply.decode()


def names(text: str) -> list[str]:
    """Titles and field names, in order."""
    return [line.split(":")[0] for line in text.splitlines()]


@pytest.mark.behaviour("INFO persistence", "the fields of redis-server, in its order")
@pytest.mark.parametrize("section", [name for name in SECTIONS if name not in VARIABLE])
def test_a_section_has_the_fields_of_redis_in_its_order(
    server: RedisServer, oracle: RedisServer, section: str
) -> None:
    for other in (server, oracle):
        other.client().set("k", "v")
    mine, theirs = (raw(other, section.encode()) for other in (server, oracle))
    if section == "errorstats":
        mine, theirs = mine.splitlines()[0], theirs.splitlines()[0]
    assert names(mine) == names(theirs)


@pytest.mark.parametrize(
    "wanted",
    [[], [b"default"], [b"ALL"], [b"everything"], [b"cpu", b"Server"], [b"cpu", b"cpu", b"nosuch"]],
)
def test_the_sections_asked_for_come_in_order(
    server: RedisServer, oracle: RedisServer, wanted: list[bytes]
) -> None:
    mine, theirs = (
        [name for name in names(raw(other, *wanted)) if name.startswith("#")]
        for other in (server, oracle)
    )
    assert [name for name in mine if name != "# kvcore"] == theirs


def test_an_unknown_section_is_empty(server: RedisServer, oracle: RedisServer) -> None:
    assert raw(server, b"nosuch") == raw(oracle, b"nosuch") == ""
    assert raw(server, b"cpu").endswith("\r\n")
    assert "\r\n\r\n# CPU\r\n" in raw(server, b"server", b"cpu")


def test_it_is_text_in_resp3(server: RedisServer) -> None:
    client = Connection(server, 3)
    client.call(b"HELLO", b"3")
    reply = client.call(b"INFO", b"keyspace")
    assert isinstance(reply, VerbatimText)
    assert reply.startswith(b"txt:# Keyspace")
    client.close()


def test_values_are_true(server: RedisServer) -> None:
    client = server.client()
    client.flushall()
    client.set("a", 1)
    client.set("b", 1, ex=100)
    client.execute_command("SELECT", 3)
    client.set("c", 1)
    told = client.info("everything")
    assert told["redis_version"] == "7.2.4"
    assert told["process_id"] == server.pid
    assert told["tcp_port"] == server.port
    assert abs(told["server_time_usec"] / 1e6 - time.time()) < 60
    assert told["db0"] == {"keys": 2, "expires": 1, "avg_ttl": 0}
    assert told["db3"]["keys"] == 1
    assert "db1" not in told
    assert told["connected_clients"] >= 1
    assert told["used_memory_peak"] >= told["used_memory"] > 1_000_000
    resident = Path(f"/proc/{server.pid}/statm").read_text(encoding="ascii").split()[1]
    pages = os.sysconf("SC_PAGESIZE")
    assert abs(told["used_memory_rss"] - int(resident) * pages) < 64 << 20
    assert told["total_net_input_bytes"] > 0
    assert told["total_net_output_bytes"] > 0
    assert told["used_cpu_user"] > 0
    assert told["kvcore_version"] == kvcore.__version__
    assert told["persistence"] == "none"
    assert told["compiled"] in ("yes", "no")
    assert told["loading"] == 0


def test_calls_and_errors_are_counted(server: RedisServer) -> None:
    client = server.client()
    client.config_resetstat()
    client.set("s", "text")
    for argv in (["INCR", "s"], ["LPUSH", "s", "x"], ["SET", "s"], ["NOSUCH"]):
        with pytest.raises(redis.ResponseError):
            client.execute_command(*argv)
    told = client.info("everything")
    assert told["cmdstat_set"] == {
        "calls": 1,
        "usec": 0,
        "usec_per_call": 0.0,
        "rejected_calls": 1,
        "failed_calls": 0,
    }
    assert told["cmdstat_incr"]["failed_calls"] == 1
    assert told["errorstat_ERR"] == {"count": 3}
    assert told["errorstat_WRONGTYPE"] == {"count": 1}
    assert told["total_error_replies"] == 4


def test_errors_within_a_transaction_are_counted(server: RedisServer) -> None:
    client = server.client()
    client.config_resetstat()
    client.set("s", "text")
    pipe = client.pipeline(transaction=True)
    pipe.incr("s").incr("s")
    with pytest.raises(redis.ResponseError):
        pipe.execute()
    assert client.info("errorstats")["errorstat_ERR"] == {"count": 2}


def test_rates_are_measured(server: RedisServer) -> None:
    client = server.client()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for _ in range(200):
            client.ping()
        stats = client.info("stats")
        if stats["instantaneous_ops_per_sec"] and stats["instantaneous_input_kbps"]:
            return
    pytest.fail("no rate was ever told")


@pytest.mark.behaviour("INFO: loading", "a load is told while it runs")
def test_a_load_is_told_while_it_runs(tmp_path: Path) -> None:
    with start_redis(tmp_path) as writer:
        client = writer.client()
        client.execute_command("DEBUG", "POPULATE", "3000")
        client.save()
    with (
        starting(tmp_path, "--persistence", "rdb", "--key-load-delay", "10000") as server,
        server.client() as client,
    ):
        told = client.info("persistence")
        assert told["loading"] == 1
        assert told["loading_total_bytes"] == (tmp_path / "dump.rdb").stat().st_size
        assert told["loading_loaded_bytes"] <= told["loading_total_bytes"]
        assert 0 <= told["loading_loaded_perc"] <= 100
        assert told["loading_start_time"] <= time.time()
        assert "loading_eta_seconds" in told
