"""Snapshots and logs read from end to end, with everything worth telling on the way."""

from __future__ import annotations

import os
import time

from kvcore.cli import offline
from kvcore.cli.terminal import DAMAGED, OK, Watch, moment
from kvcore.errors import CorruptData
from kvcore_rdb import format

# Snapshots ----------------------------------------------------------------------------------------


class _Narrator(format.Contents):
    """Tells what is read when it is read."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def add_aux(self, name: str, value: bytes) -> None:
        super().add_aux(name, value)
        text = value.decode("utf-8", "replace")
        self._lines.append(f"[offset {self.reader.offset}] AUX FIELD {name} = '{text}'")

    def select(self, db: int) -> None:
        self._lines.append(f"[offset {self.reader.offset}] Selecting DB ID {db}")


class RdbReport:
    """``lines`` in the words of redis-check-rdb; ``error`` where reading ended, None if nowhere.

    ``keys`` could be read, ``expires`` of them have an expiry, which for ``expired`` is over.
    """

    def __init__(self, name: str) -> None:
        self.lines = [f"[offset 0] Checking RDB file {name}"]
        self.contents: format.Contents = _Narrator(self.lines)
        self.error: CorruptData | None = None
        self.keys = self.expires = self.expired = 0
        self.now = int(time.time() * 1000)

    def visit(self, db: int, key: bytes, value: object, expiry: int) -> None:
        self.keys += 1
        if expiry >= 0:
            self.expires += 1
            self.expired += expiry < self.now

    def end(self, offset: int) -> None:
        error = self.error
        if error is not None:
            self.lines += ["--- RDB ERROR DETECTED ---", f"[offset {error.offset}] {error.why}"]
            if error.advice:
                self.lines.append(f"[additional info] {error.advice}")
        else:
            if self.contents.checked:
                self.lines.append(f"[offset {offset}] Checksum OK")
            for warning in self.contents.warnings():
                self.lines.append(f"[offset {offset}] {warning}")
            self.lines.append(f"[offset {offset}] \\o/ RDB looks OK! \\o/")
        self.lines += [
            f"[info] {self.keys} keys read",
            f"[info] {self.expires} expires",
            f"[info] {self.expired} already expired",
        ]


def examine_rdb(source: offline.Rdb, watch: Watch) -> RdbReport:
    """Read a snapshot up to its end or to the damage. Raises OSError."""
    report = RdbReport(source.path)
    try:
        source.fill(offline.Stream(report.visit, watch), report.contents)
    except CorruptData as error:
        report.error = error
    report.end(report.contents.reader.offset)
    return report


# Logs ---------------------------------------------------------------------------------------------


class FileReport:
    """One file of a log.

    ``whole``    where its whole part ends, ``lines`` how many lines of requests that has
    ``problem``  why that is not all, "" if it is; ``offset`` where that showed
    ``torn``     whether a crash may have left it so
    ``first``, ``last``  Unix seconds of the annotations, -1 if there are none
    """

    def __init__(self, path: str, name: str, is_base: bool) -> None:
        self.path = path
        self.name = name
        self.is_base = is_base
        self.size = self.whole = self.lines = self.commands = 0
        self.problem = ""
        self.offset = -1
        self.torn = False
        self.preamble: RdbReport | None = None
        self.code = OK
        self.first = self.last = -1

    @property
    def analysis(self) -> str:
        return (
            f"AOF analyzed: filename={self.name}, size={self.size}, ok_up_to={self.whole}, "
            f"ok_up_to_line={self.lines + 1}, diff={self.size - self.whole}"
        )


class LogReport:
    """All files of a log; ``lines`` in the words of redis-check-aof."""

    def __init__(self) -> None:
        self.files: list[FileReport] = []
        self.lines: list[str] = []
        self.code = OK


def examine_log(source: offline.Source, watch: Watch) -> LogReport:
    """Read every file of a log. Raises OSError, and CorruptData for a damaged manifest."""
    report = LogReport()
    if isinstance(source, offline.Log) and os.path.isdir(source.path):
        _examine_parts(source, report, watch)
    else:
        report.lines.append("Start checking Old-Style AOF")
        file = examine_file(source.path, source.path, is_base=True, watch=watch)
        _tell(file, report, "AOF ")
    return report


def _examine_parts(source: offline.Log, report: LogReport, watch: Watch) -> None:
    lines = report.lines
    lines.append("Start checking Multi Part AOF")
    parts = source.parts()
    total = source.size
    before = 0
    for i, part in enumerate(parts):
        is_base = part.kind == "b"
        if is_base:
            form = "RDB" if _is_rdb(source.locate(part)) else "AOF"
            lines.append(f"Start to check BASE AOF ({form} format).")
        elif i == 0 or parts[i - 1].kind == "b":
            lines.append("Start to check INCR files.")
        file = examine_file(
            source.locate(part), part.name, is_base=is_base, watch=watch, before=before, total=total
        )
        _tell(file, report, "BASE AOF " if is_base else "INCR AOF ")
        before += file.size
    if not report.code:
        lines.append("All AOF files and manifest are valid")


def _is_rdb(path: str) -> bool:
    with offline.open_regular(path) as file:
        return format.begins(file.read(6))


def _tell(file: FileReport, report: LogReport, what: str) -> None:
    lines = report.lines
    report.files.append(file)
    preamble = file.preamble
    if preamble is not None:
        lines += preamble.lines
        if preamble.error is None:
            lines.append("RDB preamble is OK, proceeding with AOF tail...")
    if file.problem and (preamble is None or preamble.error is None):
        lines.append(f"0x{file.offset:>16x}: {file.problem}")
    lines.append(file.analysis)
    if file.first >= 0:
        lines.append(f"[info] written from {moment(file.first)} to {moment(file.last)}")
    if file.problem:
        how = "the keys that its RDB part holds before the damage can be saved by kvcore repair"
        if preamble is None or preamble.error is None:
            how = "kvcore repair cuts off what is not"
        lines.append(f"{what}{file.name} is not valid: {how}.")
        report.code = max(report.code, file.code, key=(OK, 3, DAMAGED).index)
    else:
        lines.append(f"{what}{file.name} is valid")


def examine_file(
    path: str, name: str, *, is_base: bool, watch: Watch, before: int = 0, total: int = 0
) -> FileReport:
    """Read one file of a log, as far as it is whole. Raises OSError."""
    from kvcore_aof import base
    from kvcore_aof.scan import scan

    file = FileReport(path, name, is_base)
    preamble = RdbReport(name)
    loader = offline.Stream(preamble.visit, watch)
    with offline.open_regular(path) as opened:
        file.size = os.fstat(opened.fileno()).st_size
        source = base.Source(opened, file.size, loader, before, total)
        try:
            found = scan(source, loader, path, is_base=is_base, contents=preamble.contents)
        except CorruptData as error:
            preamble.error = error
            preamble.end(error.offset)
            file.preamble = preamble
            file.problem, file.offset = error.why, error.offset
            file.code = DAMAGED if type(error) is CorruptData else 3
            return file
    if found.contents is not None:
        preamble.end(found.preamble)
        file.preamble = preamble
    file.whole, file.lines, file.commands = found.whole, found.lines, found.commands
    file.first, file.last = found.first, found.last
    if found.damage is not None:
        file.problem, file.offset = found.damage.why, found.damage.offset
    elif found.torn:
        file.problem, file.offset, file.torn = found.torn, found.whole, True
    if file.problem:
        file.code = DAMAGED
    return file
