from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore.config import Config, format_fatal
from kvcore.config.options import Bool, Enum, Option
from kvcore.errors import ConfigError
from tests.config.conftest import Refusal, kvcore_reads
from tests.support import start_redis

Reads = Callable[..., Refusal | None]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)  # as redis_reads is started
    return Config()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# a comment\n\n   \t\n  # another",
        "\ttimeout 1\r\nTIMEOUT\t2\r\n",
        "timeout '3'\ntimeout \"\\x34\"",
        "slave-priority 3",
        "save",
        'save ""',
        "save ' 900  1 '",
        "bind",
        "shutdown-on-sigint save now",
        'shutdown-on-sigint "save now"',
        'latency-tracking-info-percentiles ""',
        "client-output-buffer-limit",
        'oom-score-adj-values "1 2 3"',
        "replicaof no one",
        "replicaof host 6379",
        "unixsocketperm 0700",
        "maxmemory 1gb",
        "hz 9999",
        "rename-command GET ''",
        "user alice on >secret ~* +@all",
        "list-max-ziplist-entries 3\nlist-max-ziplist-value x\nlua-replicate-commands yes",
        "enable-debug-command local",
        "dbfilename ''",
        "proc-title-template x",
        "dir .",
        "include no-such-*.conf",
        "always-show-logo yes\nrdb-key-save-delay 5\nkey-load-delay 5\naof-disable-auto-gc yes",
        "propagation-error-behavior panic\nloading-process-events-interval-bytes 2048",
        "syslog-facility local3\nsupervised auto\nloglevel debug",
    ],
)
def test_accepts_what_redis_accepts(redis_reads: Reads, config: Config, text: str) -> None:
    assert redis_reads(text.encode()) is None
    assert kvcore_reads(config, text.encode()) is None


@pytest.mark.parametrize(
    "text",
    [
        "foo bar",
        "\n\n port 1 2 ",
        'port "1',
        'port "1"2',
        "timeout",
        "timeout 1 # seconds",
        "timeout x",
        "timeout -1",
        "timeout 99999999999",
        "databases 0",
        "maxmemory 1x",
        "maxmemory-clients 101%",
        "appendonly maybe",
        "appendfsync sometimes",
        "appendfsync always no",
        "loglevel",
        "shutdown-on-sigint",
        "shutdown-on-sigint save nosave",
        "shutdown-on-sigint save foo",
        "save 1",
        'save "900 1" 3',
        "save 0 1",
        "save 60 -1",
        "client-output-buffer-limit ''",
        "client-output-buffer-limit master 1 2 3",
        "client-output-buffer-limit normal 1 2",
        "unixsocketperm 888",
        "unixsocketperm 1000",
        "unixsocketperm -1",
        "unixsocketperm x",
        "replicaof a",
        "replicaof a b",
        "replicaof a 99999",
        "appendfilename ''",
        "appendfilename a/b",
        "appenddirname ''",
        "appenddirname a/b",
        "dbfilename a/b",
        "proc-title-template '{x}'",
        "cluster-announce-hostname a_b",
        "notify-keyspace-events foo",
        "latency-tracking-info-percentiles x",
        "oom-score-adj-values 1 2",
        "activedefrag yes",
        "include",
        "include a b",
        "rename-command GET",
        "user",
        "loadmodule",
        "sentinel monitor",
        "list-max-ziplist-entries 3 4",
        "dir",
        "dir ''",
        "dir a b",
        "dir redis.conf",
        '"" x',
    ],
)
def test_refuses_what_redis_refuses_with_its_words(
    redis_reads: Reads, config: Config, text: str
) -> None:
    theirs = redis_reads(text.encode())
    ours = kvcore_reads(config, text.encode())
    assert ours == theirs
    assert ours is not None
    # One line further down, the refusal moves along.
    moved = kvcore_reads(Config(), b"# first\n" + text.encode())
    assert moved == (ours[0] + 1, *ours[1:])


@pytest.mark.parametrize(
    "argv",
    [
        ["--port", "x"],
        ["--maxmemory", "--appendonly", "yes"],
        ["--timeout", "1", "stray"],
        ["stray"],
        ["--", "x"],
        ["--timeout 1", "2"],
        ["--hz", "10", "--save", "1"],
        ["--appendfsync", "loud\n\x01"],
    ],
)
def test_refuses_a_command_line_as_redis_does(
    redis_reads: Reads, config: Config, argv: list[str]
) -> None:
    assert kvcore_reads(config, b"timeout 5\n", *_padded(argv)) == redis_reads(
        b"timeout 5\n", *_padded(argv)
    )


def _padded(argv: list[str]) -> list[str]:
    """A first option, without which a stray word would be taken for a file by ours."""
    return ["--tcp-backlog", "10", *argv]


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("save 900 1\nsave 300 10", []),
        ("save 900 1 300 10", []),
        ("", ["--save", "900", "1", "--save", "60 2 61 3"]),
        ("", ["--save 60 2", "3", "4", "--save", "5", "5"]),
        ("", ["--save", "60", "2", "--save", "", "--save", "61", "3"]),
        ("save 900 1\nsave ''\nsave 5 5", []),
        ("save 900 1", ["--save"]),
        ("save 900 1", ["--save", "--hz", "20"]),
        ("", ["--save", "7", "7"]),
        ("hz 20\nhz 30", []),
        ("hz 20", ["--hz", "50"]),
        ("maxmemory 5mb", ["--maxmemory", "1GB", "--appendfsync", "ALWAYS"]),
        ("slave-priority 3\nreplica-priority 4", []),
        (
            "client-output-buffer-limit pubsub 1g 2m 3",
            ["--client-output-buffer-limit", "slave 0 0 0"],
        ),
        ("shutdown-on-sigint now\nshutdown-on-sigterm force save", []),
        ("notify-keyspace-events AKE", ["--notify-keyspace-events", "Kg"]),
        ("include a*.conf\nhz 40", []),
        ("hz 40\ninclude a1.conf", []),
        ("dir sub\ninclude b.conf", []),
        ("include sub/c.conf", []),
    ],
)
def test_values_are_those_that_redis_has(tmp_path: Path, text: str, argv: list[str]) -> None:
    (tmp_path / "a1.conf").write_text("hz 100\nsave 1 1\n")
    (tmp_path / "a2.conf").write_text("hz 200\nsave 2 2\n")
    (tmp_path / "b.conf").write_text("timeout 11\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.conf").write_text("timeout 22\n")
    (tmp_path / "sub" / "c.conf").write_text("include b.conf\n")
    file = tmp_path / "redis.conf"
    file.write_text(text)
    include = ["--include", str(file)] if text else []
    # The same order for both: what starts the oracle, the file, the arguments.
    common = ["--save", "", "--dir", str(tmp_path)]
    config = Config()
    config.load_argv([*common, *include, *argv])
    asked = [
        *("save", "hz", "timeout", "maxmemory", "appendfsync", "replica-priority", "shutdown-on-*"),
        *("client-output-buffer-limit", "notify-keyspace-events", "dir"),
    ]
    with start_redis(tmp_path, *include, *argv) as server:
        client = server.client(raw=True)
        reply = client.execute_command("CONFIG", "GET", *asked)
    assert config.get_matching([name.encode() for name in asked]) == dict(
        zip(reply[::2], reply[1::2])
    )


def test_defaults_of_save_give_way_to_the_first_line(config: Config) -> None:
    assert config["save"] == ((3600, 1), (300, 100), (60, 10000))
    config.load_text("save 900 1")
    config.load_text("save 60 2")
    assert config["save"] == ((900, 1), (60, 2))


def test_save_points_add_up_across_an_included_file(config: Config, tmp_path: Path) -> None:
    # Redis forgets that it is still reading: behind an include, each save replaces all before.
    (tmp_path / "a.conf").write_text("save 900 1\n")
    config.load_text("include a.conf\nsave 60 2\nsave 61 3\n")
    assert config["save"] == ((900, 1), (60, 2), (61, 3))


def test_reads_the_whole_file_of_debian(config: Config) -> None:
    path = Path("/etc/redis/redis.conf")
    if not path.exists():
        pytest.fail("Debian's redis.conf is missing: apt-get install redis-server", pytrace=False)
    config.load_file(path)
    assert config.path == str(path)
    assert config["dir"] == "/var/lib/redis"
    assert config["pidfile"] == "/run/redis/redis-server.pid"
    assert config.explicit("save") is False
    assert config.explicit("appendonly")
    assert {"repl-diskless-sync", "oom-score-adj"} <= set(config.unserved())
    assert not {"appendonly", "port", "dir"} & set(config.unserved())
    assert config.rewritten(path.read_bytes()) == path.read_bytes()


def test_stdin_comes_between_the_file_and_the_options(config: Config, tmp_path: Path) -> None:
    file = tmp_path / "my.conf"
    file.write_text("hz 1\ntimeout 1\ntcp-keepalive 1\n")
    config.load_argv([str(file), "--hz", "3", "-"], stdin=io.BytesIO(b"hz 2\ntimeout 2\n"))
    assert (config["hz"], config["timeout"], config["tcp-keepalive"]) == (3, 2, 1)


def test_the_report_of_a_bad_line_reads_like_that_of_redis(config: Config, tmp_path: Path) -> None:
    file = tmp_path / "my.conf"
    file.write_text("hz 10\n\n  timeout never\n")
    with pytest.raises(ConfigError) as caught:
        config.load_file(file)
    report = format_fatal(caught.value).splitlines()
    assert report[0].startswith("*** FATAL CONFIG FILE ERROR (kvcore ")
    assert report[1] == f"Reading the configuration file, at line 3 of {file}"
    assert report[2:] == [">>> 'timeout never'", "argument couldn't be parsed into an integer"]
    assert str(caught.value) == f"{file}, line 3: 'timeout never': {report[3]}"


def test_the_report_of_a_bad_argument_shows_it(config: Config) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load_argv(["--hz", "10", "--frob", "a b"])
    assert format_fatal(caught.value).splitlines()[1:] == [
        "Reading the configuration file, at line 2",
        ">>> 'frob \"a b\"'",
        "Bad directive or wrong number of arguments",
    ]


def test_an_error_in_an_included_file_names_that_file(config: Config, tmp_path: Path) -> None:
    (tmp_path / "inner.conf").write_text("\nhz x\n")
    (tmp_path / "outer.conf").write_text("include inner.conf\n")
    with pytest.raises(ConfigError) as caught:
        config.load_file("outer.conf")
    assert (caught.value.path, caught.value.line) == (str(tmp_path / "inner.conf"), 2)


def test_a_missing_file_is_named(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't open config file .*none.conf'.*No such file"):
        config.load_file("none.conf")
    assert config.path is None
    (tmp_path / "outer.conf").write_text("hz 10\ninclude none.conf\n")
    with pytest.raises(ConfigError) as caught:
        config.load_file("outer.conf")
    assert (caught.value.line, caught.value.text) == (2, "include none.conf")


def test_files_that_include_each_other_end_in_a_sentence(config: Config, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("include b.conf\n")
    (tmp_path / "b.conf").write_text("include a.conf\n")
    with pytest.raises(ConfigError, match="include each other"):
        config.load_file("a.conf")


@given(text=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_by_a_sentence(text: bytes) -> None:
    kvcore_reads(Config(), text)
    kvcore_reads(Config(), b"requirepass " + text)


# --- Lines that add up, and where they stand ------------------------------------------------


def test_rules_are_kept_with_their_lines(config: Config) -> None:
    config.load_text("user alice on '>a b'\nrename-command GET ''\nuser bob off\n", "my.conf")
    assert config["user"] == ((b"alice", b"on", b">a b"), (b"bob", b"off"))
    assert config["rename-command"] == ((b"GET", b""),)
    error = config.lines("user")[1].error("no such rule")
    assert str(error) == "my.conf, line 3: 'user bob off': no such rule"


def test_a_directory_need_not_exist_at_the_start(config: Config, tmp_path: Path) -> None:
    config.load_text("dir new/data")
    assert config["dir"] == str(tmp_path / "new" / "data")
    with pytest.raises(ConfigError, match="Invalid argument"):
        config.load_text('dir "a\\x00b"')


# --- Keywords -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keyword", "given_value", "value"),
    [
        ("appendfsync", "always", "always"),
        ("appendonly", True, True),
        ("appendonly", "yes", True),
        ("maxclients", 10, 10),
        ("maxmemory", "1gb", 1 << 30),
        ("maxmemory", 5, 5),
        ("maxmemory_clients", "5%", -5),
        ("save", "60 1000", ((60, 1000),)),
        ("save", [(60, 1000), (1, 2)], ((60, 1000), (1, 2))),
        ("save", [], ()),
        ("save", "", ()),
        ("save", None, ()),
        ("bind", ["127.0.0.1", "-::1"], ("127.0.0.1", "-::1")),
        ("bind", "127.0.0.1 -::1", ("127.0.0.1", "-::1")),
        ("unixsocketperm", 0o700, 0o700),
        ("unixsocketperm", "700", 0o700),
        ("unixsocket", Path("a") / "b", "a/b"),
        ("logfile", "with space", "with space"),
        ("slave_priority", 7, 7),
        ("server_cpulist", "0-3", "0-3"),
        ("shutdown_on_sigterm", ["save", "now"], ("save", "now")),
        ("latency_tracking_info_percentiles", [50, 99.9], (50.0, 99.9)),
        ("replicaof", ("host", 6379), ("host", 6379)),
        ("replicaof", "no one", None),
        ("oom_score_adj_values", (1, 2, 3), (1, 2, 3)),
        ("notify_keyspace_events", "KEA", "g$lshzxetdKE"),
        ("user", "alice on", ((b"alice", b"on"),)),
        ("user", ["alice on", ("bob", ">a b")], ((b"alice", b"on"), (b"bob", b">a b"))),
        ("rename_command", [("GET", "")], ((b"GET", b""),)),
    ],
)
def test_keywords_take_values_of_python(
    config: Config, keyword: str, given_value: object, value: object
) -> None:
    config.load_text("save 5 5\nuser carol on")
    config.set_keywords({keyword: given_value})
    name = keyword if keyword == "server_cpulist" else keyword.replace("_", "-")
    assert config[name] == value
    assert config.explicit(name)


def test_the_limits_of_one_class_leave_the_others(config: Config) -> None:
    config.set_keywords({"client_output_buffer_limit": {"pubsub": ("1gb", 2, 3)}})
    assert config["client-output-buffer-limit"] == (
        ("normal", 0, 0, 0),
        ("replica", 268435456, 67108864, 60),
        ("pubsub", 1 << 30, 2, 3),
    )


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"appendfsync": "rarely"}, "appendfsync='rarely'.*must be one of"),
        ({"append_fsync": "always"}, "there is no option 'append-fsync'"),
        ({"maxclients": True}, "couldn't be parsed"),
        ({"maxclients": 0}, "between 1 and"),
        ({"maxclients": []}, "wrong number"),
        ({"appendonly": 1}, "must be 'yes' or 'no'"),
        ({"save": 60}, "Invalid save"),
        ({"user": 5}, "must be a line"),
        ({"requirepass": ["hush", "hush"]}, r"^requirepass=\(a secret\): wrong number"),
    ],
)
def test_a_bad_keyword_changes_nothing(
    config: Config, keywords: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config.set_keywords({"hz": 50, **keywords})
    assert config["hz"] == 10
    assert not config.explicit("hz")


# --- Options of plugins ---------------------------------------------------------------------

SPEED = Option("frob-speed", Enum(("slow", "fast")), "slow", aliases=("frob-velocity",))


def test_a_plugin_adds_options(config: Config) -> None:
    config.add([SPEED])
    assert config["frob-speed"] == "slow"
    config.load_text("frob-velocity FAST")
    assert config["frob-speed"] == config["frob-velocity"] == "fast"
    assert config.get_matching([b"frob*"]) == {b"frob-speed": b"fast", b"frob-velocity": b"fast"}
    with pytest.raises(ConfigError, match="must be one of the following: slow, fast"):
        config.load_text("frob-speed medium")


def test_the_file_that_selects_a_plugin_may_hold_its_options(tmp_path: Path) -> None:
    config = Config(hold_unknown=True)
    config.load_text("frob-speed fast\npersistence frob\nother x\n", "my.conf")
    assert config["persistence"] == "frob"
    config.add([SPEED])
    assert config["frob-speed"] == "fast"
    with pytest.raises(ConfigError) as caught:
        config.refuse_unknown()
    assert (caught.value.line, caught.value.text) == (3, "other x")


def test_two_plugins_cannot_mean_different_things_by_one_name(config: Config) -> None:
    config.add([SPEED])
    config.add([SPEED])
    with pytest.raises(ConfigError, match="'frob-velocity' is declared twice"):
        config.add([Option("frob-velocity", Bool(), False)])


def test_unserved_lists_what_was_asked_for_in_vain(config: Config) -> None:
    assert config.unserved() == []
    config.load_text("slave-priority 5\nhz 20\n")
    config.set_keywords({"cluster_enabled": True})
    assert config.unserved() == ["cluster-enabled", "replica-priority"]


def test_unknown_names_are_no_options(config: Config) -> None:
    assert "port" in config
    assert "slaveof" in config
    assert "ports" not in config
    for ask in (config.get, config.show, config.explicit, config.lines):
        with pytest.raises(KeyError):
            ask("ports")
