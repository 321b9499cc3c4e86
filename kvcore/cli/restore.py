"""``kvcore restore``: the data as it was at a moment, or into a server that runs, or both.

What was there at a moment is told by a log with timestamps.

A log is *generations*: a base, and the increments since it was made. The newest one is what a
store loads; older ones are the manifest's history, kept with ``aof-disable-auto-gc yes``. Of the
generation that was in use at the moment asked for, files are copied up to the first annotation
that is younger: nothing is executed, so it takes as long as copying, and no memory.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import tempfile
from typing import TYPE_CHECKING, Any, Final

import click

from kvcore.cli import offline, output
from kvcore.cli.repair import copy
from kvcore.cli.terminal import (
    DIFFERENT,
    OK,
    Unreadable,
    Watch,
    human,
    moment,
    plural,
    progress,
    say,
    say_json,
    warn,
)
from kvcore.config import Config
from kvcore.errors import CorruptData
from kvcore.reading import Wanted

if TYPE_CHECKING:
    from kvcore_aof.manifest import Manifest, Part
    from kvcore_aof.scan import Scan

_INCREMENT: Final = re.compile(r".*\.incr\.aof")
_ENABLE: Final = "timestamps are written with aof-timestamp-enabled yes"


class Impossible(CorruptData):
    """The log does not know what it is asked for. (Of a class of its own: nothing is damaged.)"""


@click.command("restore", short_help="Bring back data: of a moment, or into a running server.")
@click.argument("source", metavar="DATA")
@click.argument("target", metavar="[OUT]", required=False)
@click.option("--to", "when", help='"2026-11-20 12:00[:SS]", local or with +02:00.')
@click.option("--into", metavar="HOST:PORT", help="A running server (or its Unix socket).")
@click.option("--db", type=click.IntRange(0), metavar="N", help="Only keys of this database.")
@click.option("--match", metavar="PATTERN", help="Only keys that match, as KEYS has it.")
@click.option("--replace", is_flag=True, help="Overwrite keys that the server has already.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as an object.")
def command(
    source: str,
    target: str | None,
    when: str | None,
    into: str | None,
    db: int | None,
    match: str | None,
    replace: bool,
    as_json: bool,
) -> int:
    """Restore DATA as it was at a moment into the new folder OUT, or into a running server.

    kvcore restore DATA OUT --to MOMENT: DATA holds an AOF that was written with
    aof-timestamp-enabled yes (a data folder, the AOF's own folder, its manifest, or one AOF file).
    Everything written up to and in that second is there. Start a store on OUT to look at it; DATA
    stays as it is. Keys whose time is over by now are in OUT's files, and expire when a store opens
    them.

    kvcore restore DATA --into HOST:PORT: the keys of DATA (RDB, AOF, data folder or JSON lines;
    with --to as they were then) come into a server that runs, kvcore or Redis, by RESTORE. DATA is
    read to its end before the first one is sent, and if the server has one of the keys already,
    nothing is changed, unless --replace is given. Keys whose time is over are left out. The
    password is taken from REDISCLI_AUTH, or from redis://USER:PASSWORD@HOST:PORT.

    Exit codes: 0 restored; 1 damaged (with --to: before that moment), or the server has keys
    already; 3 the AOF does not reach back so far or has no timestamps, or the server refuses.
    """
    if (target is None) == (into is None):
        raise click.UsageError("name OUT or --into, one of them")
    if into is None and when is None:
        raise click.UsageError("--to says as of when")
    if into is None and (db is not None or match is not None or replace):
        raise click.UsageError("--db, --match and --replace are for --into")
    second = None if when is None else _second(when)
    if into is not None:
        wanted = Wanted(db, None if match is None else os.fsencode(match))
        return _into(source, second, into, wanted, replace, as_json)
    assert target is not None
    assert second is not None
    return _to_folder(source, second, target, as_json)


def _into(
    path: str, second: int | None, address: str, wanted: Wanted, replace: bool, as_json: bool
) -> int:
    from kvcore.cli import into
    from kvcore.cli.client import Connection

    with contextlib.ExitStack() as stack:
        source = offline.find(path)
        connection = stack.enter_context(Connection(address))
        if second is not None:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="kvcore-restore-"))
            then = os.path.join(scratch, "then")
            with progress(f"Looking for {moment(second)}") as watch:
                files = _choose(_generations(source), second, watch)
                _write(then, files, watch)
            source = offline.find(then)
        try:
            done = into.restore(source, connection, wanted, replace=replace)
        except into.Conflict as error:
            warn(str(error))
            return DIFFERENT
    for warning in source.warnings:
        warn(warning)
    if as_json:
        say_json(
            {"from": path, "into": connection.name, "to": second}
            | {"restored": done.restored, "expired": done.expired}
        )
        return OK
    over = f"; {plural(done.expired, 'key')} left out, their time is over" if done.expired else ""
    say(f"{connection.name}: {plural(done.restored, 'key')} restored{over}")
    return OK


def _to_folder(folder: str, second: int, target: str, as_json: bool) -> int:
    output.refuse_existing(target)
    source = offline.find(folder)
    with progress(f"Looking for {moment(second)}") as watch:
        files = _choose(_generations(source), second, watch)
    with progress(f"Restoring {moment(second)}") as watch:
        _write(target, files, watch)
    last = max((file.last for file in files), default=-1)
    keys = sum(file.commands for file in files)
    size = sum(file.whole for file in files)
    if as_json:
        say_json({"to": second, "last": last, "commands": keys, "bytes": size, "folder": target})
        return OK
    say(f"{target}: as of {moment(second)}, {human(size)}, {plural(keys, 'command')} replayed")
    if last >= 0:
        say(f"The last write that it holds is of {moment(last)}")
    return OK


def _second(text: str) -> int:
    """A moment as a person writes it, in Unix seconds."""
    try:
        return int(datetime.datetime.fromisoformat(text.strip()).timestamp())
    except (ValueError, OverflowError):
        raise click.UsageError(
            f'--to "{text}" is no moment; write it like "2026-11-20 12:00:30"'
        ) from None


# Generations --------------------------------------------------------------------------------------


class _File:
    """A file of a generation: where it lies, its name, and whether it is the base."""

    def __init__(self, path: str, name: str, is_base: bool) -> None:
        self.path = path
        self.name = name
        self.is_base = is_base
        self.whole = self.commands = 0
        self.last = -1


def _generations(source: offline.Source) -> list[list[_File]]:
    """Of each generation the files, base first; the newest generation first.

    Raises CorruptData, Unreadable.
    """
    if isinstance(source, offline.LogFile):
        return [[_File(source.path, os.path.basename(source.path), True)]]
    if not isinstance(source, offline.Log):
        raise Unreadable(f"{source.path} is no AOF: only an AOF knows what it was before")
    manifest = source.folder.read_or_adopt()
    groups = [manifest.parts, *reversed(_history(manifest))]
    return [
        [
            _File(source.locate(part), part.name, not _INCREMENT.fullmatch(part.name))
            for part in group
        ]
        for group in groups
        if group
    ]


def _history(manifest: Manifest) -> list[list[Part]]:
    """The older generations, oldest first; none if their order is not clear.

    kvcore appends a generation to the history, base first; Redis puts each file at its head.
    """
    for order in (manifest.history, manifest.history[::-1]):
        groups: list[list[Part]] = []
        for part in order:
            if not _INCREMENT.fullmatch(part.name):
                groups.append([part])
            elif groups:
                groups[-1].append(part)
        groups = [[group[0], *sorted(group[1:], key=_by_seq)] for group in groups]
        bases = [group[0].seq for group in groups]
        increments = [part.seq for group in groups for part in group[1:]]
        if (
            len(bases) + len(increments) == len(order)
            and bases == sorted(set(bases))
            and increments == sorted(set(increments))
        ):
            return groups
    return []


def _by_seq(part: Part) -> int:
    return part.seq


# Choosing -----------------------------------------------------------------------------------------


def _choose(generations: list[list[_File]], second: int, watch: Watch) -> list[_File]:
    """The files of the generation that was in use then, their whole parts up to that second.

    Raises CorruptData.
    """
    oldest = -1
    for files in generations:
        born, found = _cut(files, second, watch)
        if found is not None:
            return found
        if born >= 0:
            oldest = born
    if oldest < 0:
        raise Impossible(f"the AOF has no timestamps: {_ENABLE}")
    raise Impossible(
        f"the AOF reaches back to {moment(oldest)} only; older files were removed by a rewrite "
        "(aof-disable-auto-gc yes keeps them)"
    )


def _cut(files: list[_File], second: int, watch: Watch) -> tuple[int, list[_File] | None]:
    """When a generation was born (-1: it does not say), and its files, if it was in use then."""
    born = -1
    used: list[_File] = []
    undated = dated = False
    # What was not changed since needs no dates: all of it was there.
    settled = all([os.path.getmtime(file.path) < second + 1 for file in files])
    for i, file in enumerate(files):
        found = _scan(file, second, watch)
        if file.is_base:
            born = _birth(found)
            if born > second:
                return born, None
        undated = undated or (found.undated and not dated and not settled)
        dated = dated or found.first >= 0
        if found.cut >= 0 and not dated:
            # Nothing up to that second is dated: what is not dated may be younger.
            if undated:
                raise Impossible(
                    f"{file.path}: what was written before {moment(found.cut)} has no timestamps, "
                    f"so it is not known what of it was there at {moment(second)}"
                )
            if born < 0:
                return found.cut, None
        is_last = found.cut >= 0 or not any(os.path.getsize(f.path) for f in files[i + 1 :])
        _refuse_damage(file, found, is_last)
        file.whole, file.commands, file.last = found.whole, found.commands, found.last
        used.append(file)
        if found.cut >= 0:
            return born, used
    if undated and not dated:
        raise Impossible(f"{files[-1].path}: its commands have no timestamps: {_ENABLE}")
    if born < 0 and not dated and not settled:
        return -1, None
    return born, used


def _birth(base: Scan) -> int:
    """When a base was made, in Unix seconds; -1 if it does not say."""
    if base.contents is not None:
        ctime = base.contents.aux.get("ctime", b"")
        return int(ctime) if ctime.isdigit() and len(ctime) < 19 else -1
    return base.first if base.first >= 0 else base.cut


def _scan(file: _File, second: int, watch: Watch) -> Scan:
    from kvcore_aof import base
    from kvcore_aof.scan import scan

    loader = offline.Stream(_drop, watch)
    with offline.open_regular(file.path) as opened:
        size = os.fstat(opened.fileno()).st_size
        source = base.Source(opened, size, loader)
        return scan(source, loader, file.path, is_base=file.is_base, until=second)


def _drop(db: int, key: bytes, value: Any, expiry: int) -> None:
    """The keys of a base are only looked at to see that they are whole."""


def _refuse_damage(file: _File, found: Scan, is_last: bool) -> None:
    if found.damage is not None:
        raise found.damage
    if not found.torn:
        return
    if not is_last:
        raise CorruptData(
            f"it ends in {found.torn}, yet files follow", path=file.path, offset=found.whole
        )
    warn(f"{file.path} ends in {found.torn}, which is left out")


# Writing ------------------------------------------------------------------------------------------


def _write(target: str, files: list[_File], watch: Watch) -> None:
    """A data folder of the whole parts."""
    from kvcore_aof.folder import Folder
    from kvcore_aof.manifest import BASE, INCREMENT, Manifest, Part

    with output.new_folder(target) as storage:
        folder = Folder(storage, Config())
        folder.make()
        manifest = Manifest()
        for number, file in enumerate(files):
            if file.is_base:
                name = f"{folder.stem}.1.base.{'rdb' if file.name.endswith('.rdb') else 'aof'}"
                part = manifest.base = Part(name, 1, BASE)
            else:
                part = Part(f"{folder.stem}.{number}.incr.aof", number, INCREMENT)
                manifest.increments.append(part)
            with contextlib.closing(folder.create(part)) as new:
                copy(file.path, new.append, file.whole, watch)
                new.sync()
        folder.save(manifest)
