"""``kvcore convert``: RDB, AOF and JSON lines into each other."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager

import click

from kvcore.cli import offline, output
from kvcore.cli.terminal import OK, human, plural, progress, say, say_json, warn
from kvcore.codec.rdb import WRITTEN

FORMATS = ("rdb", "aof", "jsonl")
_SUFFIXES = {".rdb": "rdb", ".jsonl": "jsonl", ".ndjson": "jsonl", "": "aof"}


@click.command("convert", short_help="RDB, AOF and JSON lines into each other.")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option("--to", "form", type=click.Choice(FORMATS), help="By default told by OUT's name.")
@click.option(
    "--rdb-version",
    type=click.IntRange(WRITTEN[0], WRITTEN[-1]),
    metavar="9|10|11|12",
    help="Of the RDB file (or the AOF's base): 9 Redis 5 and 6, 10 7.0, 11 7.2, 12 7.4.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as an object.")
def command(
    source: str, target: str, form: str | None, rdb_version: int | None, as_json: bool
) -> int:
    """Write the keys of IN to OUT, in another format or in the same.

    IN is an RDB file, an AOF (file, manifest or folder), a data folder, JSON lines, or - for JSON
    lines on standard input. OUT is NAME.rdb, NAME.jsonl, a new data folder (AOF), or - for JSON
    lines on standard output. What lies there is not overwritten.

    Every key is written, with its expiry, also if that is over.
    """
    form = form or _form(target)
    if rdb_version is not None and form == "jsonl":
        raise click.UsageError("--rdb-version is for RDB and AOF")
    if target == "-" and form != "jsonl":
        raise click.UsageError("only JSON lines go to standard output: --to jsonl")
    if target != "-":
        output.refuse_existing(target)
    found = offline.find(source)
    with progress(f"Converting {source}") as watch, _open(form, target, rdb_version) as out:
        found.each(out.put, watch)
    for warning in found.warnings:
        warn(warning)
    if as_json and target != "-":
        say_json({"from": source, "to": target, "keys": out.keys, "bytes": out.written})
    elif target != "-":
        say(f"{target}: {plural(out.keys, 'key')} in {human(out.written)}")
    return OK


def _form(target: str) -> str:
    if target == "-":
        return "jsonl"
    suffix = os.path.splitext(target)[1].lower()
    if suffix not in _SUFFIXES:
        raise click.UsageError(f"{target!r} does not tell the format: --to {'|'.join(FORMATS)}")
    return _SUFFIXES[suffix]


def _open(form: str, path: str, version: int | None) -> AbstractContextManager[output.Output]:
    if form == "rdb":
        return output.rdb_file(path, version)
    if form == "aof":
        return output.log_folder(path, version)
    return output.lines_file(path)
