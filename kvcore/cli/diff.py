"""``kvcore diff``: which keys of two files or folders differ."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from kvcore import digest
from kvcore.cli import offline
from kvcore.cli.jsonlines import pack
from kvcore.cli.terminal import DIFFERENT, OK, plural, progress, say, say_json, shown, warn
from kvcore.errors import CorruptData
from kvcore.reading import registry

_SIGNS: Final = {"removed": "-", "added": "+", "changed": "~"}


@click.command("diff", short_help="Compare the keys of two files or folders.")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--ignore-expiry", is_flag=True, help="Values only: two expiries may differ.")
@click.option("--expired", is_flag=True, help="Compare keys whose time is over, too.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing: the exit code tells.")
@click.option("--json", "as_json", is_flag=True, help="Print an object for each difference.")
def command(
    first: str, second: str, ignore_expiry: bool, expired: bool, quiet: bool, as_json: bool
) -> int:
    """Compare the keys of A and B by value, whatever format each is in.

    A and B are RDB files, AOFs, data folders or JSON lines. A line for each key that differs:
    - is in A only, + in B only, ~ in both. Memory is needed for the names of A's keys.

    Exit codes: 0 nothing differs, 1 something does, 3 one cannot be read.
    """
    sources = offline.find(first), offline.find(second)
    now = -1 if expired else int(time.time() * 1000)
    differences = Differences(now, ignore_expiry, None if quiet else _json if as_json else _text)
    with progress(f"Reading {first}") as watch:
        sources[0].each(differences.first, watch)
    with progress(f"Reading {second}") as watch:
        sources[1].each(differences.second, watch)
    differences.finish()
    for source in sources:
        for warning in source.warnings:
            warn(warning)
    if not (quiet or as_json):
        total = differences.compared
        if differences.count:
            say(f"{plural(differences.count, 'difference')} in {plural(total, 'key')}")
        else:
            say(f"no difference in {plural(total, 'key')}")
    return DIFFERENT if differences.count else OK


def _text(kind: str, db: int, key: bytes, what: list[str]) -> None:
    details = f"  ({', '.join(what)})" if what else ""
    say(f"{_SIGNS[kind]} {db} {shown(key)}{details}")


def _json(kind: str, db: int, key: bytes, what: list[str]) -> None:
    record: dict[str, Any] = {"change": kind, "db": db, "key": pack(key)}
    if what:
        record["what"] = what
    say_json(record)


class Differences:
    """Takes all keys of the first, then all of the second; holds digests, not values.

    ``count`` is how many differ so far, ``compared`` of how many.
    """

    def __init__(self, now: int, ignore_expiry: bool, tell: Any) -> None:
        """``now``: keys that expired before are not there."""
        self.count = 0
        self.compared = 0
        self._now = now
        self._ignore_expiry = ignore_expiry
        self._tell = tell
        self._types = registry()
        # db -> key -> the digest of its value, the expiry behind it
        self._databases: dict[int, dict[bytes, bytes]] = {}
        self._seen: dict[int, set[bytes]] = {}

    def first(self, db: int, key: bytes, value: Any, expiry: int) -> None:
        if 0 <= expiry < self._now:
            return
        keys = self._databases.setdefault(db, {})
        if key in keys:
            raise CorruptData(f"key {shown(key)} of database {db} is there twice")
        keys[key] = self._mark(value, expiry)
        self.compared += 1

    def second(self, db: int, key: bytes, value: Any, expiry: int) -> None:
        if 0 <= expiry < self._now:
            return
        before = self._databases.get(db, {}).pop(key, None)
        if before is None:
            self.compared += 1
            self._differ("added", db, key, [])
            return
        mark = self._mark(value, expiry)
        if mark != before:
            what = ["value"] if mark[:20] != before[:20] else []
            what += ["expiry"] if mark[20:] != before[20:] else []
            self._differ("changed", db, key, what)

    def finish(self) -> None:
        """What the second has not named is gone."""
        for db in sorted(self._databases):
            for key in self._databases[db]:
                self._differ("removed", db, key, [])

    def _mark(self, value: Any, expiry: int) -> bytes:
        datatype = self._types.of(value)
        found = digest.mix(digest.ZERO, datatype.number.to_bytes(4, "big"))
        found = datatype.digest(value, found)
        return found if self._ignore_expiry else found + expiry.to_bytes(8, "big", signed=True)

    def _differ(self, kind: str, db: int, key: bytes, what: list[str]) -> None:
        self.count += 1
        if self._tell is not None:
            self._tell(kind, db, key, what)
