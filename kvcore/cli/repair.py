"""``kvcore repair``: what is whole takes the file's place, the original stays beside it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

import click

from kvcore.cli import offline, output
from kvcore.cli.terminal import (
    DAMAGED,
    OK,
    Unreadable,
    Watch,
    human,
    ignore,
    plural,
    progress,
    say,
    say_json,
    warn,
)
from kvcore.codec.rdb import VERSION, WRITTEN
from kvcore.errors import CorruptData
from kvcore.lock import NAME as LOCK
from kvcore.lock import FolderLock
from kvcore.storage import LocalStorage

_COPY: Final = 1 << 20


@click.command("repair", short_help="Make a damaged file loadable; asks first.")
@click.argument("file", metavar="FILE")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as an object.")
def command(file: str, yes: bool, as_json: bool) -> int:
    """Make a damaged file loadable; what is lost is said first, and asked.

    An AOF (a file, or the last one of a manifest or a folder) is cut behind its last whole command
    or transaction. An RDB file is written anew with the keys before the damage. The original stays
    beside it as FILE.orig.

    Exit codes: 0 repaired, or nothing to repair; 1 not repaired; 3 cannot be read.
    """
    source = offline.find(file)
    with _unused(source):
        if isinstance(source, offline.Rdb):
            plan = _plan_rdb(source)
        elif isinstance(source, (offline.Log, offline.LogFile)):
            plan = _plan_log(source)
        else:
            raise Unreadable(f"{file}: only RDB files and AOFs can be repaired")
        result = {"path": file, "repaired": False, "reason": plan.reason}
        code = DAMAGED
        if plan.is_whole:
            say_unless(as_json, f"{file} is whole: there is nothing to repair")
            code = OK
        elif plan.is_hopeless:
            warn(f"{file} cannot be repaired: {plan.reason}")
        elif _agrees(plan, yes):
            original = plan.carry_out()
            result |= {"repaired": True, "file": plan.path, "original": original}
            say_unless(as_json, f"Repaired {plan.path}; the original is {original}")
            code = OK
        else:
            warn("nothing was changed")
    if as_json:
        say_json(result)
    return code


def say_unless(silent: bool, text: str) -> None:
    if not silent:
        say(text)


def _agrees(plan: Plan, yes: bool) -> bool:
    warn(f"{plan.path}: {plan.reason}")
    warn(plan.consequence)
    if yes:
        return True
    try:
        return click.confirm("Continue?", default=False, err=True)
    except click.Abort:  # the end of the input is no yes
        click.echo(err=True)
        return False


@contextlib.contextmanager
def _unused(source: offline.Source) -> Iterator[None]:
    """Make sure that no store has the data open meanwhile. Raises StoreLocked."""
    with contextlib.ExitStack() as stack:
        folder = os.path.dirname(os.path.abspath(source.path))
        for root in {folder, os.path.dirname(folder)}:
            if os.path.exists(os.path.join(root, LOCK)):  # else no store of ours was ever there
                lock = FolderLock(LocalStorage(root))
                lock.take()
                stack.callback(lock.release)
        yield


class Plan:
    """What would be done about one file.

    ``reason``  what is wrong, "" if nothing is; ``consequence`` what is lost and what stays
    """

    reason = ""
    consequence = ""
    is_hopeless = False

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def is_whole(self) -> bool:
        return not self.reason

    def give_up(self, reason: str) -> Plan:
        self.reason = reason
        self.is_hopeless = True
        return self

    def carry_out(self) -> str:
        """Put what is whole in the place of the file; returns the path of the original."""
        original = _free_name(self.path)
        with (
            output.new_file(self.path, keep=original) as append,
            progress(f"Repairing {self.path}") as watch,
        ):
            self.write(append, watch)
        return original

    def write(self, append: output.Append, watch: Watch) -> None:
        raise NotImplementedError


def _free_name(path: str) -> str:
    name = f"{path}.orig"
    number = 1
    while os.path.lexists(name):
        name = f"{path}.orig.{number}"
        number += 1
    return name


# Snapshots ----------------------------------------------------------------------------------------


class _Salvage(Plan):
    version = (
        VERSION  # as the damaged file has it, if that can be written: it may be for an old Redis
    )

    def write(self, append: output.Append, watch: Watch) -> None:
        out = output.RdbOutput(append, self.version)
        with contextlib.suppress(CorruptData):
            offline.Rdb(self.path).each(out.put, watch)
        out.finish()


def _plan_rdb(source: offline.Rdb) -> Plan:
    from kvcore.cli.examine import examine_rdb

    plan = _Salvage(source.path)
    with progress(f"Checking {source.path}") as watch:
        report = examine_rdb(source, watch)
    error = report.error
    if report.contents.version in WRITTEN:
        plan.version = report.contents.version
    if error is None:
        return plan
    if type(error) is not CorruptData:
        raise error  # whole, but holds what we cannot write again
    if not report.keys:
        return plan.give_up(f"no key lies before the damage: {error}")
    plan.reason = f"{error.why} (at offset {error.offset} of {source.size})"
    plan.consequence = f"{plural(report.keys, 'key')} before the damage can be saved"
    if report.contents.ended:
        plan.consequence = (
            f"All {plural(report.keys, 'key')} can be read, but the checksum says that some byte "
            "of them is wrong, and not which"
        )
    return plan


# Logs ---------------------------------------------------------------------------------------------


class _Truncation(Plan):
    whole = 0

    def write(self, append: output.Append, watch: Watch) -> None:
        copy(self.path, append, self.whole, watch)


def copy(path: str, append: output.Append, size: int, watch: Watch = ignore) -> None:
    """The first ``size`` bytes of a file."""
    with offline.open_regular(path) as file:
        done = 0
        while done < size:
            data = file.read(min(_COPY, size - done))
            if not data:
                raise CorruptData("the file has become shorter", path=path, offset=done)
            append(data)
            done += len(data)
            watch(done, size)


def _plan_log(source: offline.Log | offline.LogFile) -> Plan:
    from kvcore.cli.examine import examine_log

    with progress(f"Checking {source.path}") as watch:
        report = examine_log(source, watch)
    files = report.files
    last = max((i for i, file in enumerate(files) if file.size), default=-1)
    broken = [i for i, file in enumerate(files) if file.problem]
    if not broken:
        return Plan(source.path)
    file = files[broken[0]]
    plan = _Truncation(file.path)
    if file.preamble is not None and file.preamble.error is not None:
        if type(file.preamble.error) is not CorruptData:
            raise file.preamble.error
        return plan.give_up(
            f"its base {file.path} is damaged at offset {file.offset}: {file.problem}; what the "
            "increments hold builds on it. kvcore repair on that file saves its keys"
        )
    if broken[0] < last:
        return plan.give_up(
            f"{file.path} is damaged at offset {file.offset}: {file.problem}; it is not the last "
            "file, and what follows builds on what is missing there"
        )
    plan.whole = file.whole
    plan.reason = f"{file.problem} (at offset {file.offset} of {file.size})"
    plan.consequence = (
        f"This cuts it from {file.size} bytes to {file.whole}: "
        f"{human(file.size - file.whole)} behind the last whole command are lost"
    )
    return plan
