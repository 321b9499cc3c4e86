"""The files of a log in their folder: names, and how one set of files replaces another.

A file belongs to the log only if the manifest names it, and the manifest is replaced in one step.
So whatever is made (a base, an increment) is made durable first, then named; what is no longer
named is removed after that. A crash in between leaves a file that nobody reads.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import Final

from kvcore.config import Config
from kvcore.errors import CorruptData
from kvcore.persistence import Found
from kvcore.storage import File, Storage
from kvcore_aof import manifest as grammar
from kvcore_aof.manifest import BASE, INCREMENT, Manifest, Part

_ASIDE: Final = "replaced-"
_MARK: Final = "sync-failed"
_SUPERSEDED: Final = "superseded"
MAX_MANIFEST: Final = 64 << 20


class Folder:
    """The folder ``appenddirname`` of a storage.

    ``name``  of the folder; ``stem`` is what all its files' names begin with (appendfilename)
    """

    def __init__(self, storage: Storage, config: Config) -> None:
        self.storage = storage
        self.name = str(config["appenddirname"])
        self.stem = str(config["appendfilename"])

    def path(self, name: str) -> str:
        """A file of the folder as the storage calls it."""
        return f"{self.name}/{name}"

    def describe(self, part: Part) -> str:
        """A part as messages call it, wherever it lies."""
        return self.storage.describe(self.locate(part))

    @property
    def manifest_path(self) -> str:
        return self.path(f"{self.stem}.manifest")

    # What is there ----------------------------------------------------------------------------

    def read(self) -> Manifest | None:
        """The manifest; None if there is none. Raises CorruptData."""
        stat = self.storage.stat(self.manifest_path)
        if stat is None:
            return None
        path = self.storage.describe(self.manifest_path)
        if stat.size > MAX_MANIFEST:
            raise CorruptData(f"an AOF manifest of {stat.size} bytes is none", path=path)
        with self.storage.open(self.manifest_path) as file:
            return grammar.parse(file.read(), path)

    def read_or_adopt(self) -> Manifest:
        """The manifest, or that of an old log: one file of Redis before 7, beside the folder.

        Redis takes it over where there is no log of the new kind, or where a crash came between
        the two steps of taking it over: named as the base, but not yet moved.
        """
        manifest = self.read()
        if manifest is None:
            manifest = Manifest()
            self._refuse_orphans()
        old = Part(self.stem, 1, BASE)
        if self.storage.stat(self.stem) is not None and (
            not manifest.parts
            or (manifest.parts == [old] and self.storage.stat(self.path(old.name)) is None)
        ):
            manifest.base = old
        return manifest

    def _refuse_orphans(self) -> None:
        """There is no manifest: then there must be no log, but for one that is being replaced."""
        orphans = self.strays(Manifest())
        aside = [name for name in self.storage.list(self.name) if name.startswith(_ASIDE)]
        if orphans and not any(name.endswith(".manifest") for name in aside):
            raise CorruptData(
                f"The AOF manifest is missing, yet {', '.join(orphans)} lie there",
                path=self.storage.describe(self.manifest_path),
                advice="Put it back, or move these files away to start without them",
            )

    def is_old(self, part: Part) -> bool:
        """Whether it is an old log that still lies beside the folder."""
        return (
            part.kind == BASE
            and part.name == self.stem
            and self.storage.stat(self.path(part.name)) is None
        )

    def locate(self, part: Part) -> str:
        """Where a part lies, as the storage calls it."""
        return part.name if self.is_old(part) else self.path(part.name)

    def size(self, part: Part) -> int:
        """Bytes; raises CorruptData if the file is missing."""
        stat = self.storage.stat(self.locate(part))
        if stat is None:
            raise CorruptData(
                f"The append log file {part.name} doesn't exist, but the manifest names it",
                path=self.storage.describe(self.path(part.name)),
            )
        return stat.size

    # Making files -----------------------------------------------------------------------------

    def make(self) -> None:
        self.storage.make_folder(self.name)

    def take_over(self, part: Part) -> None:
        """Move an old log, which the manifest names by now, into the folder."""
        self.storage.rename(self.stem, self.path(part.name))
        self.storage.sync_dir(self.name)
        self.storage.sync_dir()

    def next_base(self, manifest: Manifest, *, rdb: bool) -> Part:
        return self._next(manifest.base_seq, BASE, "base.rdb" if rdb else "base.aof")

    def next_increment(self, manifest: Manifest) -> Part:
        return self._next(manifest.increment_seq, INCREMENT, "incr.aof")

    def _next(self, seq: int, kind: str, suffix: str) -> Part:
        """A part that is no file yet: what lies there may be all that is left of somebody's log."""
        while True:
            seq += 1
            part = Part(f"{self.stem}.{seq}.{suffix}", seq, kind)
            if self.storage.stat(self.path(part.name)) is None:
                return part

    def create(self, part: Part) -> File:
        """A new empty file whose name survives a crash, open for appending."""
        file = self.storage.create(self.path(part.name))
        try:
            self.storage.sync_dir(self.name)
        except BaseException:
            file.close()
            raise
        return file

    def sync(self, parts: list[Part]) -> None:
        """Make durable all names, and these parts: a process that was killed may have left them in
        the system's memory only, for instance because a sync of the folder failed."""
        for part in parts:
            with contextlib.closing(self.storage.reopen(self.path(part.name))) as file:
                try:
                    file.sync()
                except OSError:
                    self.distrust()
                    raise
        self.storage.sync_dir(self.name)

    def settle(self, temporary: str, part: Part) -> None:
        """Give a finished file its name, durably."""
        self.storage.rename(self.path(temporary), self.path(part.name))
        self.storage.sync_dir(self.name)

    def save(self, manifest: Manifest) -> None:
        """Put this manifest in place of the one before, in one step and durably."""
        self.storage.replace(self.manifest_path, grammar.format(manifest))

    # Files that a load would read, but a power failure would change -----------------------------

    def distrust(self) -> None:
        """A sync failed: what can be read here is not what lies on the disk, and no later sync
        would change that. A mark says so for as long as this system runs, and thus as long as the
        files seem to be good; hence it need not be durable itself."""
        with contextlib.suppress(OSError):
            self.storage.create(self.path(_MARK)).close()

    def trust(self) -> None:
        """The log was written anew."""
        if self.is_distrusted():
            self.remove(_MARK)

    def is_distrusted(self) -> bool:
        return self.storage.stat(self.path(_MARK)) is not None

    # A log that another policy went on from ------------------------------------------------------

    def supersede(self) -> None:
        """Another policy holds all that this log does, and goes on: where a new log is written one
        day, nobody needs this one. If the mark is lost, it is kept under another name then."""
        with contextlib.suppress(OSError):
            self.storage.create(self.path(_SUPERSEDED)).close()

    def take_up(self) -> None:
        """What is written from now on is in this log alone. Raises OSError."""
        if self.is_superseded():
            self.storage.remove(self.path(_SUPERSEDED))
            self.storage.sync_dir(self.name)

    def is_superseded(self) -> bool:
        return self.storage.stat(self.path(_SUPERSEDED)) is not None

    def discard(self, manifest: Manifest) -> None:
        """Remove a log that was made but never in charge."""
        self.remove(f"{self.stem}.manifest")
        for part in [*manifest.parts, *manifest.history]:
            self.remove(part.name)

    # Removing files ---------------------------------------------------------------------------

    def remove(self, name: str) -> None:
        """Remove a file that no manifest names; that it stays does no harm."""
        with contextlib.suppress(OSError):
            self.storage.remove(self.path(name))

    def remove_history(self, manifest: Manifest) -> Manifest:
        """Remove the files of the history; returns the manifest without it, which is saved."""
        used = {part.name for part in manifest.parts}
        for part in manifest.history:
            if part.name not in used:
                self.storage.remove(self.path(part.name))
        self.storage.sync_dir(self.name)  # or a crash would bring them back, with nobody to tell
        manifest = manifest.copy()
        manifest.history = []
        self.save(manifest)
        return manifest

    def remove_leftovers(self, manifest: Manifest) -> list[str]:
        """Remove what a crash has left unfinished; returns the names.

        That is a temporary file, or a base or an empty increment which was not named yet. An
        increment that holds something and is not named is no leftover of ours: perhaps somebody
        put an old manifest in place. Then nothing is removed.
        """
        temporary = [name for name in self.storage.list(self.name) if name.startswith("temp-")]
        unnamed = [] if self.strays(manifest) else self._unnamed(manifest)
        for name in [*temporary, *unnamed]:
            self.remove(name)
        return [*temporary, *unnamed]

    def strays(self, manifest: Manifest) -> list[str]:
        """Files of another log than that of this manifest: there is an increment that holds
        something, which none has before it is named."""
        unnamed = self._unnamed(manifest)
        for name in unnamed:
            stat = self.storage.stat(self.path(name))
            if name.endswith("incr.aof") and stat is not None and stat.size:
                return unnamed
        return []

    def _unnamed(self, manifest: Manifest) -> list[str]:
        named = {part.name for part in [*manifest.parts, *manifest.history]}
        pattern = re.compile(re.escape(self.stem) + r"\.\d+\.(base\.rdb|base\.aof|incr\.aof)")
        names = self.storage.list(self.name)
        return [name for name in names if pattern.fullmatch(name) and name not in named]

    def set_aside(self) -> list[str]:
        """Give the files of a log that is to be replaced other names, and those of one that was to
        be, when a crash came in between; returns the names.

        The manifest goes first: a crash leaves either the whole log or none.
        """
        try:
            names = [part.name for part in (self.read() or Manifest()).parts]
        except CorruptData:
            names = self.storage.list(self.name)
        manifest = f"{self.stem}.manifest"
        names = [manifest, *(name for name in names if name != manifest)]
        names += [name for name in self.strays(Manifest()) if name not in names]
        return self.rename(names)

    def rename(self, names: list[str]) -> list[str]:
        """Set these files aside, in this order; returns how messages call them then."""
        there = self.storage.list(self.name)
        second = int(time.time())
        while any(name.startswith(f"{_ASIDE}{second}-") for name in there):
            second += 1  # nothing takes the place of what was set aside before
        aside = []
        for name in names:
            if not name.startswith(_ASIDE) and self.storage.stat(self.path(name)) is not None:
                aside.append(f"{_ASIDE}{second}-{name}")
                self.storage.rename(self.path(name), self.path(aside[-1]))
                self.storage.sync_dir(self.name)
        return [self.storage.describe(self.path(name)) for name in aside]


def probe(storage: Storage, config: Config) -> Found:
    """What of a log lies in a storage: see `kvcore.persistence.Persistence.probe`."""
    folder = Folder(storage, config)
    claims = (folder.name, folder.stem)
    try:
        manifest = folder.read_or_adopt()
    except (CorruptData, OSError):
        stat = storage.stat(folder.manifest_path)
        return Found((folder.manifest_path,), claims, stat.mtime if stat is not None else 0.0)
    stats = [storage.stat(folder.locate(part)) for part in manifest.parts]
    # A log of empty files holds nothing; one that lacks a file holds something: damage to report.
    if not any(stat is None or stat.size for stat in stats):
        return Found((), claims)
    return Found(
        tuple(folder.locate(part) for part in manifest.parts),
        claims,
        max((stat.mtime for stat in stats if stat is not None), default=0.0),
    )
