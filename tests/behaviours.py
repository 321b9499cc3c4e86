"""What persistence does, in a table that the tests draw which show it.

    @pytest.mark.behaviour("appendfsync", "always: a reply waits until its commit is synced")

    pytest --behaviours docs/persistence-table.md

runs the tests so marked, and nothing else, and writes the table if all of them pass (without
``-n``: it is one process that has to know them all). With ``--collect-only`` it is written without
running them: that is how a test notices that the committed one is stale. What `SECTIONS` names
must have a test each; nothing else can be marked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from kvcore import plugins
from kvcore.config import Config

Row = tuple[str, str, str, str]  # subject, behaviour, file, test

DIRECTIVES: Final = (
    *("persistence", "load-from", "save", "dbfilename", "dir", "rdbcompression", "rdbchecksum"),
    *("rdb-version", "rdb-save-incremental-fsync", "stop-writes-on-bgsave-error"),
    *("snapshot-method", "snapshot-filename", "snapshot-keep", "sanitize-dump-payload"),
    *("appendonly", "appendfilename", "appenddirname", "appendfsync"),
    *("no-appendfsync-on-rewrite", "auto-aof-rewrite-percentage", "auto-aof-rewrite-min-size"),
    *("aof-load-truncated", "aof-use-rdb-preamble", "aof-timestamp-enabled"),
    *("aof-rewrite-incremental-fsync", "aof-disable-auto-gc"),
    *("shutdown-on-sigint", "shutdown-on-sigterm", "shutdown-timeout"),
    *("enable-debug-command", "enable-protected-configs"),
    *("rdb-key-save-delay", "key-load-delay"),
    *("rdb-del-sync-files", "loading-process-events-interval-bytes"),
    *("bgsave_cpulist", "aof_rewrite_cpulist", "replica-ignore-disk-write-errors"),
    *("repl-diskless-sync", "repl-diskless-sync-delay", "repl-diskless-sync-max-replicas"),
    "repl-diskless-load",
)
SECTIONS: Final = {
    "Directives": DIRECTIVES,
    "Commands": (
        *("SAVE", "BGSAVE", "BGREWRITEAOF", "LASTSAVE", "WAITAOF", "FLUSHALL", "SHUTDOWN"),
        *("CONFIG SET appendonly", "CONFIG SET persistence", "CONFIG REWRITE"),
        *("DEBUG RELOAD", "DEBUG LOADAOF", "DEBUG RESTART", "DEBUG DIGEST"),
    ),
    "Gates and retries": (
        *("MISCONF: snapshots", "MISCONF: log", "MISCONF: any policy", "LOADING"),
        *("retry of a save", "back-off of rewrites", "writes behind a slow sync"),
    ),
    "Disks that fail": (
        *("log: write", "log: sync", "log: rewrite", "snapshot", "change of policy"),
        *("load", "shutdown"),
    ),
    "Files": (
        *("RDB versions", "RDB: what is refused", "RDB: what is skipped"),
        *("AOF: text", "AOF: timestamps", "AOF: torn end", "AOF: damage"),
        *("manifest: grammar", "manifest: files", "old single-file AOF", "leftovers"),
        "never silently empty",
    ),
    "What is told": ("INFO persistence", "INFO: loading", "log lines", "process"),
    "Where redis-server 7.0 fails": (
        "1. a tail torn inside MULTI swallows later writes",
        "2. a negative length in an AOF aborts the process",
        "3. a duplicated key panics; a damaged version is believed",
        "4. temporary files of killed children stay",
        "5. an overlong length passes for truncation",
        "6. writes stay refused after a failed sync; a later sync is believed",
    ),
}
_SUBJECTS: Final = [subject for subjects in SECTIONS.values() for subject in subjects]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--behaviours",
        metavar="FILE",
        help="run the tests marked as behaviours only, and write their table to FILE",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "behaviour(subject, text): what the test shows; see tests/behaviours.py"
    )
    path = config.getoption("--behaviours")
    if path:
        config.pluginmanager.register(_Drawing(Path(path)), "kvcore-behaviours")


class _Drawing:
    """Draws the table of one run."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._rows: list[Row] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        marked = [item for item in items if item.get_closest_marker("behaviour") is not None]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(marked)])
        items[:] = marked
        self._rows = [row for item in marked for row in rows_of(item)]

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if exitstatus == pytest.ExitCode.OK:
            self._path.write_text(table(self._rows), encoding="utf-8")


def rows_of(item: pytest.Item) -> list[Row]:
    file = item.path.relative_to(item.config.rootpath).as_posix()
    name = getattr(item, "originalname", item.name)
    rows = []
    for mark in item.iter_markers("behaviour"):
        subject, text = mark.args
        if subject not in _SUBJECTS:
            raise pytest.UsageError(f"{item.nodeid}: tests/behaviours.py knows no {subject!r}")
        rows.append((subject, text, file, name))
    return rows


def table(rows: Iterable[Row]) -> str:
    """The whole page. Raises UsageError if a subject has no test."""
    shown: dict[str, dict[str, dict[str, None]]] = {subject: {} for subject in _SUBJECTS}
    for subject, text, file, name in sorted(set(rows)):
        shown[subject].setdefault(text, {})[f"[{name}]({os.path.join('..', file)})"] = None
    missing = [subject for subject, found in shown.items() if not found]
    if missing:
        raise pytest.UsageError(f"no test shows what is said of: {', '.join(missing)}")
    config = _all_options()
    lines = [_HEAD]
    for section, subjects in SECTIONS.items():
        directives = section == "Directives"
        lines += [f"\n## {section}\n"]
        lines += (
            ["| what | default | changes | behaviour | shown by |", "|---|---|---|---|---|"]
            if (directives)
            else ["| what | behaviour | shown by |", "|---|---|---|"]
        )
        for subject in subjects:
            head = [f"`{subject}`", *_facts(config, subject)] if directives else [subject]
            for text, tests in shown[subject].items():
                links = "<br>".join(tests)
                lines.append(f"| {' | '.join(head)} | {text} | {links} |")
                head = [""] * len(head)
    return "\n".join(lines) + "\n"


_HEAD: Final = """# What persistence does, and which test shows it

Drawn by `pytest --behaviours docs/persistence-table.md`, which runs these tests; not by hand. Every
directive of Redis 7.2 that concerns persistence is here with its default, and with who may change
it: *at once* by CONFIG SET, *protected* where `enable-protected-configs` allows it, *at the start*
only."""


def _all_options() -> Config:
    config = Config()
    for name in plugins.OURS:
        config.add(plugins.load_policy(name).options)
    return config


def _facts(config: Config, name: str) -> tuple[str, str]:
    """(default, who may change it) of a directive."""
    option = config.option(name.encode())
    assert option is not None, name
    shown = option.kind.show(option.default).decode()
    when = "protected" if option.protected else "at once" if option.mutable else "at the start"
    if option.denied_while_loading:
        when += ", but not during a load"
    if name == "dir":
        shown = "./"
    return f"`{shown}`" if shown else '`""`', when
