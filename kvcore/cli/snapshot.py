"""``kvcore snapshot``: the snapshots in a folder."""

from __future__ import annotations

import os
from typing import Any

import click

from kvcore.cli import offline
from kvcore.cli.terminal import (
    DAMAGED,
    OK,
    SEVERITY,
    human,
    moment,
    progress,
    say,
    say_json,
    table,
    warn,
)
from kvcore.storage import ReadOnlyStorage


@click.group("snapshot", short_help="List the snapshots in a folder.")
def command() -> None:
    """The snapshots in a data folder, as snapshot-filename and snapshot-keep leave them."""


@command.command("list")
@click.argument("folder", metavar="[FOLDER]", default=".")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
def list_command(folder: str, as_json: bool) -> int:
    """List the snapshots in FOLDER, the newest first.

    Each is read to its end, to see whether it is whole. Two names of one file are told.

    To load an earlier snapshot, move the newer ones away, dump.rdb included, and start.

    Exit codes: 0 all are whole, 1 one is damaged, 3 the folder or a file cannot be read.
    """
    found = _snapshots(folder)
    code = max([entry.pop("code") for entry in found], default=OK, key=SEVERITY.index)
    if as_json:
        say_json(found)
        return code
    for line in _text(found) or [f"There are no snapshots in {folder}"]:
        say(line)
    for entry in found:
        if entry["error"]:
            warn(entry["error"])
    return code


def _snapshots(folder: str) -> list[dict[str, Any]]:
    """What is told of each, newest first. Raises OSError."""
    from kvcore.cli import tool
    from kvcore.cli.examine import examine_rdb
    from kvcore_rdb import snapshots

    os.listdir(folder)  # a folder that is not there is no empty one
    found: list[dict[str, Any]] = []
    inodes: dict[tuple[int, int], str] = {}
    for taken in snapshots.listed(ReadOnlyStorage(folder)):
        source = offline.Rdb(os.path.join(folder, taken.name))
        stat = os.stat(source.path)
        with progress(f"Reading {source.path}") as watch:
            report = examine_rdb(source, watch)
        code = OK if report.error is None else tool.exit_code(report.error)
        found.append(
            {
                "name": taken.name,
                "time": taken.when / 1000,
                "size": stat.st_size,
                "keys": report.keys,
                "version": report.contents.version,
                "whole": code != DAMAGED,
                "code": code,
                "error": None if report.error is None else str(report.error),
                "same_as": inodes.setdefault((stat.st_dev, stat.st_ino), taken.name),
            }
        )
        if found[-1]["same_as"] == taken.name:
            found[-1]["same_as"] = None
    return found


def _text(found: list[dict[str, Any]]) -> list[str]:
    if not found:
        return []
    rows = [("snapshot", "taken", "size", "keys", "version", "state")]
    for entry in found:
        state = "damaged" if not entry["whole"] else "not supported" if entry["error"] else "whole"
        if entry["same_as"]:
            state += f", the same file as {entry['same_as']}"
        rows.append(
            (
                entry["name"],
                moment(entry["time"]),
                human(entry["size"]),
                f"{entry['keys']:,}",
                str(entry["version"] or "?"),
                state,
            )
        )
    return table(rows, right="  rrr")
