from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvcore.config import Config
from kvcore.errors import CommandError, ConfigError
from tests.config.conftest import kvcore_sets


@pytest.fixture
def config() -> Config:
    return Config()


def test_a_subscriber_gets_the_new_value_and_only_changes(config: Config) -> None:
    told: list[object] = []
    config.subscribe("maxmemory", told.append)
    config.subscribe("slave-priority", told.append)
    assert kvcore_sets(config, "maxmemory", "1kb", "hz", "50") == "OK"
    assert kvcore_sets(config, "maxmemory", "1024") == "OK"
    assert kvcore_sets(config, "replica-priority", "5") == "OK"
    assert told == [1024, 5]


def test_a_subscriber_sees_all_new_values(config: Config) -> None:
    seen: list[tuple[object, object]] = []
    config.subscribe("hz", lambda _: seen.append((config["hz"], config["timeout"])))
    assert kvcore_sets(config, "hz", "50", "timeout", "7") == "OK"
    assert seen == [(50, 7)]


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (ConfigError("not now"), "not now"),
        (ValueError("not so"), "not so"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (OSError("odd"), "odd"),
    ],
)
def test_a_refusal_undoes_the_whole_command(
    config: Config, refusal: Exception, reason: str
) -> None:
    told: list[object] = []

    def refuse(value: object) -> None:
        told.append(value)
        if value == 7:
            raise refusal

    config.subscribe("hz", told.append)
    config.subscribe("timeout", refuse)
    config.subscribe("maxclients", told.append)
    error = kvcore_sets(config, "hz", "50", "timeout", "7", "maxclients", "9")
    assert error == (f"ERR CONFIG SET failed (possibly related to argument 'timeout') - {reason}")
    assert (config["hz"], config["timeout"], config["maxclients"]) == (10, 0, 10000)
    # Who heard of a value that did not last hears of the old one; the last was never asked.
    assert told == [50, 7, 10, 0]
    assert not config.explicit("hz")


def test_a_bug_in_a_subscriber_is_not_taken_for_a_refusal(config: Config) -> None:
    def broken(value: object) -> None:
        raise RuntimeError("bug")

    config.subscribe("hz", broken)
    with pytest.raises(RuntimeError):
        config.set_many([(b"hz", b"50")])


def test_loading_calls_no_subscriber(config: Config) -> None:
    told: list[object] = []
    config.subscribe("hz", told.append)
    config.load_text("hz 20")
    config.set_keywords({"hz": 30})
    assert told == []


@pytest.mark.behaviour("enable-protected-configs", "yes, local, no")
@pytest.mark.behaviour("dbfilename", "CONFIG SET as enable-protected-configs allows")
@pytest.mark.parametrize(
    ("allowed", "local", "done"),
    [("no", True, False), ("local", False, False), ("local", True, True), ("yes", False, True)],
)
def test_protected_options_are_set_as_far_as_allowed(
    config: Config, allowed: str, local: bool, done: bool
) -> None:
    config.load_text(f"enable-protected-configs {allowed}")
    if done:
        config.set_many([(b"dbfilename", b"x.rdb")], local=local)
    else:
        with pytest.raises(CommandError, match="can't set protected config"):
            config.set_many([(b"dbfilename", b"x.rdb")], local=local)
    assert config["dbfilename"] == ("x.rdb" if done else "dump.rdb")


@pytest.mark.behaviour("dir", "follows what chdir does")
def test_dir_follows_what_chdir_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    config.load_text("enable-protected-configs yes\ndir .")
    config.subscribe("dir", os.chdir)
    assert kvcore_sets(config, "dir", "a") == "OK"
    assert kvcore_sets(config, "dir", "b/") == "OK"
    assert config.get_matching([b"dir"]) == {b"dir": os.fsencode(tmp_path / "a" / "b")}
    assert Path.cwd() == tmp_path / "a" / "b"
    for bad, reason in (
        ("none", "No such file or directory"),
        ("", "No such file or directory"),
        (str(tmp_path / "file"), "Not a directory"),
    ):
        error = kvcore_sets(config, "dir", bad)
        assert error == f"ERR CONFIG SET failed (possibly related to argument 'dir') - {reason}"
    assert config["dir"] == str(tmp_path / "a" / "b")


@pytest.mark.behaviour("LOADING", "`dir`, `appendonly` and others wait for the end of a load")
@pytest.mark.parametrize("name", [b"appendonly", b"repl-diskless-load"])
def test_some_options_wait_for_the_end_of_a_load(config: Config, name: bytes) -> None:
    with pytest.raises(CommandError, match=r"^LOADING Redis is loading the dataset in memory$"):
        config.set_many([(b"hz", b"50"), (name, b"yes")], loading=True)
    assert config["hz"] == 10
    config.set_many([(b"hz", b"50")], loading=True)
    assert config["hz"] == 50


def test_no_reply_of_an_error_can_begin_another(config: Config) -> None:
    error = kvcore_sets(config, b"a\r\n+OK\r\n\xff", b"x")
    assert "\r" not in error
    assert "\n" not in error
    assert error.encode("utf-8", "surrogateescape").endswith(b"- 'a  +OK  \xff'")


def test_what_was_set_counts_as_explicit(config: Config) -> None:
    config.set_many([(b"slave-priority", b"100")])
    assert config.explicit("replica-priority")
    assert config.unserved() == ["replica-priority"]


def test_values_are_typed(config: Config) -> None:
    kinds = {"port": int, "appendonly": bool, "dir": str, "save": tuple, "appendfsync": str}
    assert {name: type(config[name]) for name in kinds} == kinds
    assert config.show("appendonly") == b"no"


@pytest.mark.parametrize("name", ["requirepass", "masterauth", "masteruser", "tls-key-file-pass"])
def test_secrets_are_known_as_such(config: Config, name: str) -> None:
    option = config.option(name.upper().encode())
    assert option is not None
    assert option.sensitive
