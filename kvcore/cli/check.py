"""``kvcore check``: what redis-check-rdb and redis-check-aof tell, in their words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from kvcore.cli import offline
from kvcore.cli.terminal import DAMAGED, OK, SEVERITY, plural, progress, say, say_json, warn
from kvcore.errors import CorruptData, KvcoreError
from kvcore.reading import Memory

if TYPE_CHECKING:
    from kvcore.cli.examine import LogReport, RdbReport


@click.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--load", is_flag=True, help="Load it as a start would: needs memory for the data.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print an array with an object for each file."
)
def command(files: tuple[str, ...], load: bool, as_json: bool) -> int:
    """Check files for damage; nothing is changed.

    FILE is an RDB file, an AOF file, an AOF manifest, JSON lines, or a data folder. Without --load
    nothing is executed: the commands of an AOF are only checked for their form.

    Exit codes: 0 all are whole, 1 one is damaged, 3 one cannot be read.
    """
    code = OK
    results = []
    for file in files:
        for result in _check(file, load):
            results.append(result)
            if not as_json:
                for line in result.pop("lines"):
                    say(line)
            code = max(code, result.pop("code"), key=SEVERITY.index)
    if as_json:
        for result in results:
            result.pop("lines", None)
        say_json(results)
    return code


def _check(path: str, load: bool) -> list[dict[str, Any]]:
    """A result for each source at ``path``: JSON fields, and ``lines`` and ``code``."""
    try:
        sources = offline.in_folder(path) if os.path.isdir(path) else []
        sources = sources or [offline.find(path)]
    except (OSError, KvcoreError) as error:
        return [_failure(path, error)]
    return [_check_source(source, load) for source in sources]


def _check_source(source: offline.Source, load: bool) -> dict[str, Any]:
    from kvcore.cli import tool

    try:
        with progress(f"Checking {source.path}") as watch:
            result = _examine(source, watch)
        if (
            load
            and result["code"] == OK
            and source.kind in (offline.RDB, offline.LOG, offline.LOG_FILE)
        ):
            result["loaded"] = _load(source)
            result["lines"].append(f"[info] {plural(result['loaded'], 'key')} loaded")
    except CorruptData as error:
        # In what has no narration of its own, or in a load.
        result = {
            "path": source.path,
            "kind": source.kind,
            "ok": False,
            "error": str(error),
            "lines": [str(error)],
            "code": tool.exit_code(error),
        }
    except (OSError, KvcoreError, ModuleNotFoundError) as error:
        return _failure(source.path, error)
    return result


def _examine(source: offline.Source, watch: Any) -> dict[str, Any]:
    """Read it in the way of its kind."""
    if isinstance(source, offline.Rdb):
        from kvcore.cli.examine import examine_rdb

        return _of_rdb(source, examine_rdb(source, watch))
    if isinstance(source, (offline.Log, offline.LogFile)):
        from kvcore.cli.examine import examine_log

        return _of_log(source, examine_log(source, watch))
    count = _Count()
    source.each(count.visit, watch)
    lines = [f"{source.path}: {plural(count.keys, 'key')}, all of them can be read"]
    return _result(source, True, lines, keys=count.keys)


class _Count:
    def __init__(self) -> None:
        self.keys = 0

    def visit(self, db: int, key: bytes, value: object, expiry: int) -> None:
        self.keys += 1


def _load(source: offline.Source) -> int:
    with progress(f"Loading {source.path}") as watch:
        memory = Memory(watch)
        source.fill(memory)
    return memory.keyspace.size()


def _result(source: offline.Source, ok: bool, lines: list[str], **fields: object) -> dict[str, Any]:
    code = OK if ok else DAMAGED
    return {
        **{"path": source.path, "kind": source.kind, "ok": ok, **fields},
        **{"lines": lines, "code": code},
    }


def _failure(path: str, error: BaseException) -> dict[str, Any]:
    from kvcore.cli import tool

    text = tool.sentence(error)
    warn(text)
    code = tool.exit_code(error)
    return {"path": path, "ok": False, "error": text, "lines": [], "code": code}


# In the words of redis-check-rdb ------------------------------------------------------------------


def _of_rdb(source: offline.Rdb, report: RdbReport) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "size": source.size,
        "version": report.contents.version,
        "keys": report.keys,
        "expires": report.expires,
        "expired": report.expired,
        "checksum": report.contents.checked,
        "aux": {name: value.decode("latin-1") for name, value in report.contents.aux.items()},
    }
    lines = [*report.lines]
    error = report.error
    if error is not None:
        from kvcore.cli import tool

        fields |= {"error": str(error), "offset": error.offset}
        lines.append(f"kvcore repair {source.path} saves the keys before the damage")
        result = _result(source, False, lines, **fields)
        result["code"] = tool.exit_code(error)
        if result["code"] != DAMAGED:  # whole, but not for us
            lines.pop()
        return result
    return _result(source, True, lines, **fields)


# In the words of redis-check-aof ------------------------------------------------------------------


def _of_log(source: offline.Source, report: LogReport) -> dict[str, Any]:
    files = []
    for file in report.files:
        entry: dict[str, Any] = {
            "file": file.name,
            "kind": "base" if file.is_base else "incr",
            "ok": not file.problem,
            "size": file.size,
            "ok_up_to": file.whole,
            "ok_up_to_line": file.lines + 1,
            "diff": file.size - file.whole,
            "commands": file.commands,
        }
        if file.first >= 0:
            entry |= {"first": file.first, "last": file.last}
        if file.problem:
            entry |= {"error": file.problem, "offset": file.offset}
        files.append(entry)
    result = _result(source, not report.code, report.lines, files=files)
    result["code"] = report.code
    return result
