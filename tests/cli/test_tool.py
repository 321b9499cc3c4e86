"""``kvcore`` itself: the subcommands, the exit codes, and what is imported when."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest

import kvcore
from kvcore import plugins
from kvcore.cli.tool import SUBCOMMANDS
from kvcore.config import Config, Option
from kvcore.persistence import Found, Loader, Persistence
from kvcore.resp import COMPILED
from kvcore.storage import Storage
from tests.cli.conftest import Run, program
from tests.support import start_redis


def kvcore_command(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    code = "import sys; from kvcore.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, *[str(arg) for arg in args]]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_every_subcommand_explains_itself_and_its_exit_codes(run: Run) -> None:
    overview = run("--help")
    assert overview.code == 0
    for name in SUBCOMMANDS:
        assert f"  {name} " in overview.out
        if name != "server":
            assert run(name, "--help").code == 0
            assert run(name, "--nonsense").code == 2
    for name in ("check", "repair", "diff", "restore", "plugins"):
        assert "Exit codes:" in run(name, "--help").out
    assert run("nonsense").code == 2
    version = run("--version").out
    assert version.startswith("kvcore 0.")
    assert ("compiled" if COMPILED else "plain") in version


def test_as_a_process_it_has_the_same_exit_codes(tmp_path: Path) -> None:
    (tmp_path / "bad.rdb").write_bytes(b"REDIS")
    for args, code in (
        (["plugins"], 0),
        (["check", tmp_path / "bad.rdb"], 1),
        (["check"], 2),
        (["check", tmp_path / "missing"], 3),
        (["server", "--version"], 0),
    ):
        done = kvcore_command(*args)
        assert done.returncode == code
        assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(folder: Path) -> None:
    code = "import sys; from kvcore.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "convert", str(folder), "-"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 141
    assert "Error" not in done.stderr


def test_the_server_does_without_what_only_the_tool_needs() -> None:
    code = "import sys, kvcore.cli, kvcore.cli.server; print('click' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_terminal_sees_a_bar_and_a_pipe_does_not(folder: Path) -> None:
    script = program("script")
    command = f"{sys.executable} -c 'from kvcore.cli import main; main()' check {folder}/dump.rdb"
    seen = subprocess.run(
        [script, "-qec", command, "/dev/null"], capture_output=True, text=True, check=True
    )
    assert "Checking" in seen.stdout
    assert "\x1b[" in seen.stdout
    piped = kvcore_command("check", folder / "dump.rdb")
    assert piped.stderr == ""
    assert "\x1b" not in piped.stdout


def test_what_a_file_is_called_does_not_reach_the_terminal_raw(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "a\x1b[31m.rdb"
    path.write_bytes(b"REDIS")
    result = run("check", path, tmp_path / "b\x1b\udcff")
    assert "\x1b" not in result.out + result.err


# plugins ------------------------------------------------------------------------------------------


def test_plugins_lists_what_is_installed(run: Run) -> None:
    found = {plugin["name"]: plugin for plugin in run("plugins", "--json").json}
    assert found.keys() >= {"none", "rdb", "aof", "hybrid"}
    assert found["rdb"]["distribution"] == "kvcore-rdb"
    assert found["rdb"]["version"] == kvcore.__version__
    assert found["rdb"]["keeps"] == "snapshots only"
    assert found["aof"]["keeps"] == "every write, as commands"
    text = run("plugins").out
    assert "kvcore-hybrid" in text
    assert "lost in a crash" in text


class Diary(Persistence):
    """Keeps a diary.

    What survives is what was written down: all keys, one a line, of database 0.
    """

    name = "diary"
    log = "keys"
    options: ClassVar[tuple[Option, ...]] = ()

    @classmethod
    def probe(cls, storage: Storage, config: Config) -> Found:
        stat = storage.stat("diary.txt")
        return Found() if stat is None else Found(("diary.txt",), ("diary.txt",), stat.mtime)

    def load(self, loader: Loader) -> None:
        with self.host.storage.open("diary.txt") as file:
            for line in file:
                loader.restore(0, line.strip(), b"written")


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = plugins.installed()
    entries["diary"] = EntryPoint("diary", f"{__name__}:Diary", plugins.GROUP)
    monkeypatch.setattr(plugins, "installed", lambda: entries)


@pytest.mark.usefixtures("diary")
def test_the_data_of_a_strangers_policy_is_read_by_that_policy(tmp_path: Path, run: Run) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "diary.txt").write_text("monday\ntuesday\n")
    found = {plugin["name"]: plugin for plugin in run("plugins", "--json").json}
    assert found["diary"]["keeps"] == "every write, as changed keys"
    assert found["diary"]["promise"].startswith("What survives is what was written down")
    assert run("check", data).code == 0
    assert [line["key"] for line in run("convert", data, "-").lines] == ["monday", "tuesday"]
    assert run("convert", data, tmp_path / "a.rdb").code == 0
    assert run("diff", data, tmp_path / "a.rdb").code == 0
    assert run("inspect", "--json", data).json["persistence"] == "diary"
    (data / "diary.txt").write_text("monday\nmonday\n")
    assert run("check", data).code == 1
    assert sorted(path.name for path in data.iterdir()) == ["diary.txt"]


def test_a_plugin_that_cannot_be_used_is_said(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("broken", "no_such_module:Policy", plugins.GROUP)
    monkeypatch.setattr(plugins, "installed", lambda: {"broken": broken})
    result = run("plugins")
    assert result.code == 1
    assert "cannot be imported" in result.out
    monkeypatch.setattr(plugins, "installed", dict)
    assert "pip install" in run("plugins").out


# advise -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["nothing", "seconds", "minutes", "everything"])
@pytest.mark.parametrize("restart", ["fast", "any"])
@pytest.mark.parametrize("writes", ["few", "many"])
def test_every_advice_is_a_configuration(
    loss: str, restart: str, writes: str, tmp_path: Path, run: Run
) -> None:
    options = ("--loss", loss, "--restart", restart, "--writes", writes)
    result = run("advise", *options)
    assert result.code == 0
    config = tmp_path / "kvcore.conf"
    config.write_text(result.out)
    said = run("advise", *options, "--json").json
    with kvcore.open(str(tmp_path / "data"), config_file=str(config)) as store:
        assert store.instance.policy == said["persistence"]
        store.set("k", "v")
    if loss != "everything":
        with kvcore.open(str(tmp_path / "data"), config_file=str(config)) as store:
            assert store.get("k") == b"v"
    if loss == "nothing":
        assert said["appendfsync"] == "always"


def test_redis_understands_the_advice_but_for_our_directives(tmp_path: Path, run: Run) -> None:
    ours = ("persistence ", "snapshot-")
    for loss in ("nothing", "seconds", "minutes"):
        out = run("advise", "--loss", loss, "--restart", "fast", "--writes", "many").out
        config = tmp_path / "redis.conf"
        config.write_text(
            "".join(line for line in out.splitlines(True) if not line.startswith(ours))
        )
        with start_redis(tmp_path, config_file=config) as server:
            assert server.client().ping()


def test_it_asks_what_no_option_says(tmp_path: Path) -> None:
    done = kvcore_command("advise", "--restart", "any", input="seconds\nmany\n")
    assert done.returncode == 0
    assert "How much of what was written may a crash lose?" in done.stderr
    assert "How hot are the writes?" in done.stderr
    assert "restart?" not in done.stderr
    assert done.stdout.startswith("# kvcore advise --loss seconds --restart any --writes many\n")
    assert kvcore_command("advise", input="everything\n").returncode == 0
    assert kvcore_command("advise", "--loss", "some").returncode == 2
