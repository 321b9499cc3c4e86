"""What the subcommands share: exit codes, messages, progress, and numbers for people.

Exit codes, for scripts:

===  ==========================================================================
0    all is well; nothing differs
1    damaged, different, or not repaired
2    the command line is wrong
3    cannot read or write: no such file, no permission, of no known kind, a value that is not
     supported, a plugin that is not installed
130  interrupted
===  ==========================================================================

Results go to standard output, messages and progress to standard error.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from kvcore.config import quote
from kvcore.errors import KvcoreError

OK: Final = 0
DAMAGED: Final = 1
DIFFERENT: Final = 1
USAGE: Final = 2
UNREADABLE: Final = 3
INTERRUPTED: Final = 130

SEVERITY: Final = (OK, UNREADABLE, DAMAGED)
"""The exit code of several files is the last of theirs."""

Watch = Callable[[int, int], None]
"""Told how far some work is: (done, total)."""

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


class Unreadable(KvcoreError):
    """Exit code 3: there is nothing here that could be read."""


def say(text: str) -> None:
    """A line of the result. Whatever a file's name holds can be printed."""
    print(printable(text))


def warn(text: str) -> None:
    """A line for the person, who may not be the one who reads the result."""
    print(printable(f"kvcore: {text}"), file=sys.stderr)


def say_json(value: object) -> None:
    """A result for programs: one line."""
    print(json.dumps(value, ensure_ascii=True))


def printable(text: str) -> str:
    """``text`` without what a terminal would obey, or what no stream can encode."""
    return "".join(
        char if char == "\n" or (char.isprintable() and not "\ud800" <= char <= "\udfff") else "?"
        for char in text
    )


def shown(key: bytes) -> str:
    """A key as messages show it: quoted, readable where it is text."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return quote(key).decode("ascii")
    if not text.isprintable() or '"' in text or "\\" in text:
        return quote(key).decode("ascii")
    return f'"{text}"'


def human(size: float) -> str:
    """A number of bytes: ``1.5 MB``."""
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def plural(count: int, noun: str) -> str:
    """``1 key``, ``2,000 keys``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def moment(second: float) -> str:
    """A Unix time in this machine's time zone."""
    try:
        when = datetime.datetime.fromtimestamp(second).astimezone()
    except (ValueError, OverflowError, OSError):  # a damaged file may say anything
        return f"@{second:.0f}"
    return when.strftime("%Y-%m-%d %H:%M:%S %z")


def table(rows: Sequence[tuple[str, ...]], right: str = "") -> list[str]:
    """Rows in columns; ``right`` has an ``r`` for each column that is aligned to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if right[i : i + 1] == "r" else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def ignore(done: int, total: int) -> None:
    """The progress of work that nobody watches."""


@contextlib.contextmanager
def progress(title: str) -> Iterator[Watch]:
    """A bar on standard error, where that is a terminal and rich is installed."""
    if not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    with Progress(
        "{task.description}",
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        task = bars.add_task(printable(title).replace("[", "\\["), total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
