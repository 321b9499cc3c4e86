"""The table against the oracle: names, defaults, what may be set, and what is said to bad values.

The oracle is Redis 7.0; what 7.2 added or renamed stands in NEWER.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvcore.config import Config
from kvcore.config.directives import OPTIONS
from kvcore.config.options import (
    Bool,
    Enum,
    Flags,
    Int,
    Memory,
    Option,
    String,
)
from tests.config.conftest import kvcore_sets
from tests.support import start_redis

Get = Callable[..., dict[bytes, bytes]]
Set = Callable[..., str]

OURS = {
    "persistence",
    "load-from",
    "snapshot-method",
    "rdb-version",
    "snapshot-filename",
    "snapshot-keep",
}
NEWER = {
    "set-max-listpack-entries",
    "set-max-listpack-value",
    "cluster-announce-human-nodename",
    "cluster-ping-interval",
    "locale-collate",
    "server-cpulist",
    "bio-cpulist",
    "aof-rewrite-cpulist",
    "bgsave-cpulist",
}
HIDDEN_SINCE_7_2 = b"aof-disable-auto-gc"
# What start_redis says itself.
STARTED_WITH = {
    *("bind", "port", "unixsocket", "dir", "save", "enable-debug-command", "pidfile", "daemonize")
}
IN_REDIS = [o for o in OPTIONS if o.name not in OURS | NEWER and not o.file_only]
NAMES = [(name, option) for option in IN_REDIS for name in (option.name, *option.aliases)]
SETTABLE = [
    (name, option) for name, option in NAMES if option.mutable and name not in {"dir"} | NEWER
]


@pytest.fixture
def config() -> Config:
    return Config()


def test_names_are_those_of_redis(config_get: Get, config: Config) -> None:
    ours = set(config.get_matching([b"*"]))
    newer = {name.encode() for name in NEWER | OURS}
    assert ours - newer == set(config_get("*")) - {HIDDEN_SINCE_7_2}


@pytest.mark.parametrize("name", sorted(NEWER | OURS))
def test_what_redis_7_0_does_not_know(config_get: Get, config: Config, name: str) -> None:
    assert config_get(name) == {}
    assert set(config.get_matching([name.encode()])) == {name.encode()}


def test_defaults_are_those_of_redis(tmp_path: Path, config: Config) -> None:
    with start_redis(tmp_path) as server:
        client = server.client(raw=True)
        for name, option in NAMES:
            if option.name not in STARTED_WITH and name not in NEWER:
                reply = client.execute_command("CONFIG", "GET", name)
                assert reply == [name.encode(), config.show(name)]


def test_hidden_ones_are_found_by_name_only(config_get: Get, config: Config) -> None:
    hidden = {option.name.encode() for option in IN_REDIS if option.hidden}
    for name in hidden - {HIDDEN_SINCE_7_2}:
        assert config_get(name[:-1] + b"?") == {} == config.get_matching([name[:-1] + b"?"])
        assert config_get(name) == config.get_matching([name]) != {}


@pytest.mark.parametrize("name", [name for name, option in NAMES if not option.mutable])
def test_immutable_as_in_redis(config_set: Set, config: Config, name: str) -> None:
    if name not in NEWER:
        assert kvcore_sets(config, name, "x") == config_set(name, "x")


def good_and_bad(option: Option) -> Iterator[str]:
    """Arguments of CONFIG SET that ask about each border of the option's kind."""
    kind = option.kind
    yield from ("", "no-such-value", "-1", "1.5", " 1", "1 ", "+1", "01", "0x10")
    if isinstance(kind, Bool):
        yield from ("yes", "NO", "no", "true", "yes no")
    elif isinstance(kind, Int):
        borders = (kind.minimum, kind.maximum)
        yield from (str(border + step) for border in borders for step in (-1, 0, 1))
        yield from ("9" * 25, str(option.default))
    elif isinstance(kind, Memory):
        yield from ("1gb", "3M", "64kB", "2147483648", "1tb", "1 gb", "mb", "1b", "50%", "101%")
        yield from ("%", "-5%", "0", str(option.default))
    elif isinstance(kind, Enum):
        yield from (name for name in kind.names if name != "nothing")  # a loglevel of 7.2
        yield from (kind.names[0].upper(), f"{kind.names[0]} {kind.names[1]}")
        yield option.default
    elif isinstance(kind, Flags):
        yield from (*kind.names, " ".join(kind.names), "NOW save", "now now", "save  now")
        yield "default"


# What would make the oracle listen elsewhere, close our connections, or need a certificate;
# and sizes that it rounds up when it applies them.
NOT_ASKED = {
    "port": range(65536),
    "tls-port": range(1, 65536),
    "maxclients": range(2**32 - 1, 2**32),
    "timeout": range(1, 2),
    "watchdog-period": range(1, 2**31),
    "repl-backlog-size": range(16384),
}
WORDS_NOT_ASKED = {
    "maxmemory-clients": ("1b", "mb", "01", "+1", "1 ", " 1", "64kB", "3M"),
    "repl-backlog-size": ("1b",),
    "tls-cluster": ("yes",),
    "tls-replication": ("yes",),
}
KINDS = (Bool, Int, Memory, Enum, Flags)


def may_ask(name: str, value: str) -> bool:
    if value in WORDS_NOT_ASKED.get(name, ()):
        return False
    return not (value.lstrip("-").isdigit() and int(value) in NOT_ASKED.get(name, ()))


@pytest.mark.behaviour(
    "shutdown-timeout", "values are taken and refused as by redis-server; it has no effect here"
)
@pytest.mark.behaviour(
    "rdb-del-sync-files", "values are taken and refused as by redis-server; it has no effect here"
)
@pytest.mark.behaviour(
    "loading-process-events-interval-bytes",
    "values are taken and refused as by redis-server; it has no effect here",
)
@pytest.mark.behaviour(
    "replica-ignore-disk-write-errors",
    "values are taken and refused as by redis-server; it has no effect here",
)
@pytest.mark.behaviour(
    "repl-diskless-sync", "values are taken and refused as by redis-server; it has no effect here"
)
@pytest.mark.behaviour(
    "repl-diskless-sync-delay",
    "values are taken and refused as by redis-server; it has no effect here",
)
@pytest.mark.behaviour(
    "repl-diskless-sync-max-replicas",
    "values are taken and refused as by redis-server; it has no effect here",
)
@pytest.mark.behaviour(
    "repl-diskless-load", "values are taken and refused as by redis-server; it has no effect here"
)
@pytest.mark.parametrize(
    ("name", "option"),
    [pair for pair in SETTABLE if isinstance(pair[1].kind, KINDS)],
    ids=[name for name, option in SETTABLE if isinstance(option.kind, KINDS)],
)
def test_takes_and_refuses_what_redis_does(
    config_get: Get, config_set: Set, config: Config, name: str, option: Option
) -> None:
    before = config.show(name)
    try:
        for value in good_and_bad(option):
            if not may_ask(name, value):
                continue
            ours = kvcore_sets(config, name, value)
            theirs = config_set(name, value)
            assert ours.replace(", nothing", "") == theirs, value
            if name != "port":
                assert config.get_matching([name.encode()]) == config_get(name), value
    finally:
        config_set(name, before)


SPECIAL = {
    "save": [
        "",
        "900 1",
        "900 1 300 10",
        "1 0",
        "0 1",
        "1",
        "1 x",
        "900  1",
        " 1 2",
        "1 2 ",
        "+1 2",
    ],
    "bind": [" ".join("a" * 17)],
    "client-output-buffer-limit": [
        *("", "normal 1gb 2mb 3", "replica 1gb 5mb 6 slave 1gb 5mb 7", "NORMAL 0 0 0"),
        *("pubsub 1g 2m 3 normal 0 0 0", "master 1 2 3", "normal 1 2", "other 1 2 3"),
        *("normal 1x 2 3", "normal 1 2x 3", "normal 1 2 x", "normal 1 2 -1", "normal 0 0 +1"),
        "normal 0 0 0 bad 0 0 0",
    ],
    "oom-score-adj-values": [
        *("1 2 3", "3 2 1", "-2000 0 2000", "1 2", "1 2 3 4", "1 2 2001", "-2001 0 0", "1 2 x"),
        *("1 +2 03", ""),
    ],
    "notify-keyspace-events": [
        *(
            "",
            "KEA",
            "AKE",
            "g",
            "nmdgK",
            "g$lshzxetd",
            "Amn",
            "KEg$lshzxetmdn",
            "foo",
            "K E",
            "AA",
        ),
    ],
    "latency-tracking-info-percentiles": [
        *("50", "50 99.99999 1e1 .5 5.", "0 100", "x", "101", "-0.5", "nan", "inf", " 5", "5 "),
        *("0.1234567890123 33.333333333333336", "1e-9", "0x1p-1"),
    ],
    "proc-title-template": [
        *(
            "",
            " ",
            "x",
            "{title}",
            "{title} {port}",
            "{server-mode} {title}",
            "{foo}",
            "{title",
            "{{",
        ),
        *("a}{title}}", "{ title}", "{}", "{listen-addr}", "{title} {x", "{title} {config-file} x"),
    ],
    "cluster-announce-hostname": ["", "a_b", "Aab-0.c", "a" * 255, "a" * 256],
    "hz": ["0", "1", "500", "501", "9999", "10"],
    "activedefrag": ["yes", "no"],
    "masterauth": ["", "a b", 'a"b\\', "\xe9\u20ac"],
    "replica-announce-ip": ["x", ""],
    "ignore-warnings": ["x y", ""],
    "bind-source-addr": ["x y", ""],
}


@pytest.mark.parametrize(("name", "values"), SPECIAL.items(), ids=SPECIAL)
def test_special_values(
    config_get: Get, config_set: Set, config: Config, name: str, values: list[str]
) -> None:
    config_set(name, config.show(name))
    for value in values:
        assert kvcore_sets(config, name, value) == config_set(name, value), value
        if name not in STARTED_WITH or name == "save":
            assert config.get_matching([name.encode()]) == config_get(name), value
    config_set(name, Config().show(name))


def test_every_settable_name_was_asked_about() -> None:
    plain = {name for name, option in SETTABLE if type(option.kind) is String}
    asked = {name for name, option in SETTABLE if isinstance(option.kind, KINDS)}
    assert {name for name, _ in SETTABLE} - plain - asked - set(SPECIAL) == {"dbfilename"} - plain


@pytest.mark.parametrize("value", ["", "a b", "no", "\r\n"])
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, option in SETTABLE
        if option.kind == String() and not name.startswith("tls") and name != "requirepass"
    ],
)
def test_strings_are_taken_as_they_are(
    config_get: Get, config_set: Set, config: Config, name: str, value: str
) -> None:
    assert kvcore_sets(config, name, value) == config_set(name, value) == "OK"
    assert config.get_matching([name.encode()]) == config_get(name)
    config_set(name, config.show(name))


@pytest.mark.parametrize(
    "args",
    [
        ("foo", "bar"),
        ("fo\r\no", "bar"),
        ("foo", "1", "databases", "3"),
        ("databases", "3", "foo", "1"),
        ("DataBases", "3"),
        ("maxclients", "50", "MAXCLIENTS", "51"),
        ("slave-priority", "x", "replica-priority", "1"),
        ("hz", "20", "SLAVE-Priority", "x"),
        ("hz", "x", "timeout", "y"),
        ("hz", "20", "timeout", "5"),
        ("dir", "/"),
        ("DBFILENAME", "x"),
        ("include", "x"),
        ("user", "x"),
        ("rename-command", "a b"),
        ("", "x"),
        ("hz", "10", "timeout", "0"),
    ],
)
def test_several_at_once(
    config_get: Get, config_set: Set, config: Config, args: tuple[str, ...]
) -> None:
    for name in ("hz", "timeout", "replica-priority"):
        config_set(name, config.show(name))
    assert kvcore_sets(config, *args) == config_set(*args)
    for name in ("hz", "timeout", "replica-priority", "maxclients"):
        assert config.get_matching([name.encode()]) == config_get(name)


@pytest.mark.parametrize(
    "patterns",
    [
        ("PORT",),
        ("HZ", "hz", "h?"),
        ("h?", "HZ"),
        ("*slave-prio*", "replica-priority"),
        ("hash-max-*",),
        ("HASH-MAX-[LZ]*value",),
        ("key-load-dela?", "key-load-delay"),
        ("\\hz",),
        ("\\h?",),
        ("nothing", ""),
        ("user", "include"),
    ],
)
def test_config_get_names_what_redis_names(
    config_get: Get, config: Config, patterns: tuple[str, ...]
) -> None:
    ours = config.get_matching([pattern.encode() for pattern in patterns])
    assert set(ours) == set(config_get(*patterns))


@pytest.mark.parametrize("name", ["maxmemory", "maxmemory-clients", "client-query-buffer-limit"])
@pytest.mark.parametrize("value", [str(2**64), "9" * 25, "99999999999gb"])
def test_sizes_beyond_64_bits_are_refused_where_redis_wraps_them(
    config: Config, name: str, value: str
) -> None:
    before = config[name]
    assert kvcore_sets(config, name, value).startswith("ERR CONFIG SET failed")
    assert config[name] == before


def test_redis_benchmark_asks_for_these_first() -> None:
    assert Config().get_matching([b"save", b"appendonly"]) == {
        b"save": b"3600 1 300 100 60 10000",
        b"appendonly": b"no",
    }
