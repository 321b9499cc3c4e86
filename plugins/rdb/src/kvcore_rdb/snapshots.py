"""The snapshots in a folder: which one a start loads, what each is called, which ones go.

The newest snapshot is the file ``dbfilename``, as in Redis. With ``snapshot-filename`` it has a
second name besides, made of the time; a hard link where there are such, so nothing is written
twice. When the next snapshot takes its place under the one name, it stays under the other. So a
Redis finds its file, and so does a start after these options were changed.

Which of two snapshots is newer is told by a field in them and not by names or times of files, which
copies change: milliseconds of the clock, but never less than a snapshot has that is there already.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import Final

import attrs

from kvcore.codec.rdb import Reader
from kvcore.config import Config
from kvcore.errors import ConfigError, CorruptData
from kvcore.storage import Storage
from kvcore_rdb import format

WHEN_FIELD: Final = "kvcore-time"  # AUX: when it was taken, Unix ms; Redis ignores it

_HEAD_BYTES: Final = 4096  # AUX fields end before
_DIGITS: Final = {"Y": 4, "j": 3}  # of what strftime writes for a field; 2 for the others
_TEMPORARY: Final = re.compile(r"temp-.*")


@attrs.frozen
class Taken:
    """A snapshot, and when it was taken (Unix ms).

    ``ours``   kvcore took it and says when; otherwise it is Redis' second, or the file's time
    ``known``  its head could be read
    """

    name: str
    when: int
    ours: bool
    known: bool = True

    @property
    def moment(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.when / 1000))


def read_aux(storage: Storage, name: str) -> dict[str, bytes] | None:
    """The AUX fields of a snapshot; None if there is none, or its head is damaged."""
    try:
        with storage.open(name) as file:
            return format.read_aux(Reader(file.read(_HEAD_BYTES), path=name))
    except (OSError, CorruptData):
        return None  # whoever loads it will tell


def look(storage: Storage, name: str) -> Taken | None:
    """None if there is no such file."""
    stat = storage.stat(name)
    if stat is None:
        return None
    aux = read_aux(storage, name) or {}
    when = _number(aux.get(WHEN_FIELD, b""))
    if when is not None:
        return Taken(name, when, True)
    ctime = _number(aux.get("ctime", b""))
    if ctime is not None:
        return Taken(name, ctime * 1000 + 999, False)
    return Taken(name, int(stat.mtime * 1000), False, known=False)


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) < 19 else None


def listed(storage: Storage) -> list[Taken]:
    """All files of a folder that are called ``*.rdb``, the newest first (by its shorter name)."""
    names = [n for n in storage.list() if n.endswith(".rdb") and not _TEMPORARY.fullmatch(n)]
    found = [taken for name in names if (taken := look(storage, name)) is not None]
    return sorted(found, key=lambda taken: (-taken.when, len(taken.name), taken.name))


# Loading ------------------------------------------------------------------------------------------


def choose(storage: Storage, config: Config) -> str:
    """The file to load: ``dbfilename``, or, if it is not there, the newest that might be meant.

    "" if there is none. See `refuse_doubt`.
    """
    name = str(config["dbfilename"])
    if not name or storage.stat(name) is not None:
        return name
    beside = others(storage, config)
    return _newest(beside, _matcher(config)).name if beside else ""


def _newest(beside: list[Taken], dated: re.Pattern[str]) -> Taken:
    """The newest, by its name of ``snapshot-filename`` if it has one."""
    newest = [taken for taken in beside if taken.when == beside[0].when]
    return next((taken for taken in newest if dated.fullmatch(taken.name)), newest[0])


def refuse_doubt(storage: Storage, config: Config, name: str) -> str:
    """Is the chosen file the newest snapshot? Raises ConfigError if a person has to decide.

    Returns what to warn of, "" if nothing.
    """
    expected = str(config["dbfilename"])
    dated = _matcher(config)
    if name != expected:
        if dated.fullmatch(name):
            return f"{expected} is not there: loading the newest snapshot"
        taken = look(storage, name)
        raise ConfigError(
            f"{storage.describe(expected)} is not there, but {storage.describe(name)} is, a "
            f"snapshot of {taken.moment if taken else '?'}. "
            f"To load it: dbfilename {name}; to start empty, move it away"
        )
    own = look(storage, name)
    beside = others(storage, config)
    if own is None or not own.known or not beside or beside[0].when <= own.when:
        return ""
    newer = _newest(beside, dated)
    if not dated.fullmatch(newer.name):
        return f"{storage.describe(newer.name)} is a newer snapshot than the one to be loaded"
    raise ConfigError(
        f"{storage.describe(name)} is of {own.moment}, but {storage.describe(newer.name)} of "
        f"{newer.moment} is newer. Move away the one that is not to be loaded"
    )


def advice(storage: Storage, config: Config, damaged: str) -> str:
    """How to load the snapshot before a damaged one; "" if there is none."""
    bad = look(storage, damaged)
    if bad is None:
        return ""
    beside = others(storage, config)
    before = next((taken for taken in beside if taken.when < bad.when), None)
    if before is None:
        return ""
    away = ", ".join(sorted({damaged, *(t.name for t in beside if t.when >= bad.when)}))
    how = f"move away {away}"
    if not _matcher(config).fullmatch(before.name):
        how = f"start with dbfilename {before.name}"
    return f"The snapshot before it is {before.name} of {before.moment}; to load that, {how}"


def others(storage: Storage, config: Config) -> list[Taken]:
    """Snapshots beside ``dbfilename`` that are ours, by what they say or by their name."""
    dated = _matcher(config)
    return [
        taken
        for taken in listed(storage)
        if taken.name != config["dbfilename"] and (taken.ours or dated.fullmatch(taken.name))
    ]


# Names --------------------------------------------------------------------------------------------


def next_moment(storage: Storage, name: str) -> int:
    """When a snapshot that is begun now is taken: Unix ms, after all that are there."""
    there = [taken.when for taken in listed(storage) if taken.ours]
    own = look(storage, name)
    if own is not None:
        there.append(own.when)
    return max([int(time.time() * 1000), *(when + 1 for when in there)])


def name_at(pattern: str, when: int) -> str:
    """What the snapshot of that moment is called, in local time."""
    return time.strftime(pattern, time.localtime(when / 1000))


def remove_old(storage: Storage, pattern: str, keep: int, newest: str, current: str) -> None:
    """Remove all but ``keep`` snapshots with such names, ``newest`` being one of those.

    ``current`` (dbfilename) stays, whatever its name looks like.
    """
    dated = matcher(pattern)
    older = [
        taken.name
        for taken in listed(storage)
        if dated.fullmatch(taken.name) and taken.name not in (newest, current)
    ]
    for name in older[keep - 1 :]:
        with contextlib.suppress(OSError):  # the next snapshot will try again
            storage.remove(name)


def matcher(pattern: str) -> re.Pattern[str]:
    """What matches the names that a ``snapshot-filename`` makes."""
    if not pattern:
        return re.compile(r"(?!)")
    parts = re.split(r"%([A-Za-z])", pattern)
    for i in range(0, len(parts), 2):
        parts[i] = re.escape(parts[i])
    for i in range(1, len(parts), 2):
        parts[i] = rf"[0-9]{{{_DIGITS.get(parts[i], 2)}}}"
    return re.compile("".join(parts))


def _matcher(config: Config) -> re.Pattern[str]:
    return matcher(str(config["snapshot-filename"]))
