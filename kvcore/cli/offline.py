"""Data files without a store: what kind they are, and their keys one by one.

`find` tells what lies at a path. Every `Source` gives its keys to a loader (`Source.fill`), or one
by one to a function (`Source.each`). Snapshots and JSON lines pass through and need memory for one
key at a time; a log needs memory for the data that it makes.

Nothing here writes: files are opened through a storage that refuses to. The formats belong to the
plugins, which are imported when a file of theirs is met.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Final

from kvcore import plugins
from kvcore.cli import jsonlines
from kvcore.cli.terminal import Unreadable, Watch, ignore
from kvcore.codec.rdb import Reader
from kvcore.config import Config
from kvcore.datatype import Limits, TypeRegistry
from kvcore.errors import CorruptData, PluginError
from kvcore.persistence import Loader, Persistence
from kvcore.reading import Memory, ReadingHost, default_limits, registry
from kvcore.storage import ReadOnlyStorage

if TYPE_CHECKING:
    from kvcore_aof.folder import Folder
    from kvcore_aof.manifest import Part
    from kvcore_rdb.format import Contents

Visit = Callable[[int, bytes, Any, int], None]
"""Takes a key: database, key, value, expiry in Unix milliseconds or -1."""

RDB: Final = "rdb"
LOG: Final = "log"
LOG_FILE: Final = "aof"
LINES: Final = "jsonl"
OTHER: Final = "other"

MAX_LINE: Final = 2 << 30

_SUFFIXES: Final = {".rdb": RDB, ".aof": LOG_FILE, ".jsonl": LINES, ".ndjson": LINES}
_REPORT_EVERY: Final = 1 << 20


# Loaders ------------------------------------------------------------------------------------------


class Stream(Loader):
    """Passes the keys of a snapshot on, and keeps none."""

    def __init__(self, visit: Visit, watch: Watch = ignore) -> None:
        self._visit = visit
        self._watch = watch
        self._types = registry()
        self._limits = default_limits()
        self._now = int(time.time() * 1000)

    def restore(self, db: int, key: bytes, value: object, expiry: int = -1) -> None:
        self._visit(db, key, value, expiry)

    def replay(self, db: int, argv: list[bytes]) -> None:
        raise CorruptData("a command where only keys were due")

    def progress(self, done: int, total: int) -> None:
        self._watch(done, total)

    def note(self, **fields: object) -> None:
        pass

    @property
    def types(self) -> TypeRegistry:
        return self._types

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def now(self) -> int:
        return self._now


class Notes:
    """The log of code that expects a store's: what it warns of is for the person."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str, **fields: object) -> None:
        details = ", ".join(f"{name} {value}" for name, value in fields.items())
        self.warnings.append(f"{text} ({details})" if details else text)

    error = critical = warning

    def info(self, text: str, **fields: object) -> None:
        pass

    debug = info


# Sources ------------------------------------------------------------------------------------------


class Source:
    """Something that holds keys.

    ``kind``      RDB, LOG (a folder with or without a manifest), LOG_FILE, LINES or OTHER
    ``path``      how messages call it
    ``warnings``  what whoever read it should know; filled by `fill` and `each`
    ``about``     facts for people: ``version``, ``made by``, …; filled likewise
    """

    kind: ClassVar[str]

    def __init__(self, path: str) -> None:
        self.path = path
        self.warnings: list[str] = []
        self.about: dict[str, str] = {}

    def fill(self, loader: Loader) -> None:
        """Give all there is to the doors of ``loader``. Raises CorruptData, OSError."""
        raise NotImplementedError

    def each(self, visit: Visit, watch: Watch = ignore) -> None:
        """Call ``visit`` with every key, those included whose time is over."""
        memory = Memory(watch)
        with _without_garbage():
            self.fill(memory)
        memory.each(visit)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return os.path.getsize(self.path)


class Rdb(Source):
    """A snapshot."""

    kind = RDB

    def fill(self, loader: Loader, contents: Contents | None = None) -> None:
        from kvcore_rdb import format

        contents = contents or format.Contents()
        with open_regular(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            source = format.source(file, size, loader)
            reader = Reader(source, path=self.path, size=size, checksum=True)
            format.read(reader, loader, keep_expired=True, contents=contents)
        self.about["version"] = str(contents.version)
        if contents.maker:
            self.about["made by"] = contents.maker
        self.warnings += contents.warnings()

    def each(self, visit: Visit, watch: Watch = ignore) -> None:
        self.fill(Stream(visit, watch))


class LogFile(Source):
    """One file of a log by itself: perhaps an RDB part, then commands."""

    kind = LOG_FILE

    def fill(self, loader: Loader) -> None:
        from kvcore_aof import base

        if ".incr." in os.path.basename(self.path):
            self.warnings.append(
                f"{self.path} is an increment: it lacks what its base holds. "
                "Name the folder or the manifest to read both"
            )
        with open_regular(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            source = base.Source(file, size, loader)
            end, torn, contents = base.load(source, loader, self.path, Config(), is_base=True)
        if contents is not None:
            self.warnings += contents.warnings()
        if torn:
            self.warnings.append(
                f"{self.path} ends in {torn}; its last {size - end} bytes are not used"
            )


class Log(Source):
    """A log of several files, or of one beside its folder as before Redis 7."""

    kind = LOG

    def __init__(self, root: str, name: str, stem: str) -> None:
        """``root``: the data folder; ``name``: appenddirname; ``stem``: appendfilename."""
        from kvcore_aof.folder import Folder

        super().__init__(os.path.join(root, name))
        self.config = Config()
        self.config.set_keywords({"appenddirname": name, "appendfilename": stem})
        self.storage = ReadOnlyStorage(root)
        self.folder: Folder = Folder(self.storage, self.config)
        if not os.path.isdir(self.path):  # an old log that no Redis 7 has taken over yet
            self.path = os.path.join(root, stem)

    def parts(self) -> list[Part]:
        """The files that a load reads, in order. Raises CorruptData."""
        return self.folder.read_or_adopt().parts

    def locate(self, part: Part) -> str:
        """The path of a file of the log."""
        return self.folder.describe(part)

    def fill(self, loader: Loader) -> None:
        from kvcore_aof.loading import Loading

        notes = Notes()
        Loading(self.folder, self.config, notes).run(loader)
        self.warnings += notes.warnings

    def each(self, visit: Visit, watch: Watch = ignore) -> None:
        parts = self.parts()
        sizes = [self.folder.size(part) for part in parts]
        if parts and parts[0].name.endswith(".rdb") and not any(sizes[1:]):
            snapshot = Rdb(self.locate(parts[0]))
            snapshot.each(visit, watch)
            self.warnings += snapshot.warnings
        else:
            super().each(visit, watch)

    @property
    def size(self) -> int:
        return sum(self.folder.size(part) for part in self.parts())


class Lines(Source):
    """JSON lines; ``-`` is standard input."""

    kind = LINES

    def fill(self, loader: Loader) -> None:
        if self.path == "-":
            self._read(sys.stdin.buffer, 0, loader)
            return
        with open_regular(self.path) as file:
            self._read(file, os.fstat(file.fileno()).st_size, loader)

    def _read(self, file: BinaryIO, size: int, loader: Loader) -> None:
        types, limits = loader.types, loader.limits
        done = reported = number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            done += len(line)
            if line.strip():
                try:
                    loader.restore(*jsonlines.load(line, types, limits))
                except CorruptData as error:
                    error.path = f"{self.path}, line {number}"
                    raise
            if done - reported >= _REPORT_EVERY:
                reported = done
                loader.progress(done, max(size, done))

    def each(self, visit: Visit, watch: Watch = ignore) -> None:
        self.fill(Stream(visit, watch))

    @property
    def size(self) -> int:
        return 0 if self.path == "-" else super().size


class Other(Source):
    """The data of a policy that is not ours, loaded by that policy."""

    kind = OTHER

    def __init__(self, root: str, policy: type[Persistence], config: Config) -> None:
        super().__init__(root)
        self._policy = policy
        self._config = config
        self.about["persistence"] = policy.name

    def fill(self, loader: Loader) -> None:
        self._policy(ReadingHost(ReadOnlyStorage(self.path), self._config, loader.types)).load(
            loader
        )

    @property
    def size(self) -> int:
        storage = ReadOnlyStorage(self.path)
        found = self._policy.probe(storage, self._config).files
        return sum(stat.size for name in found if (stat := storage.stat(name)) is not None)


# Finding ------------------------------------------------------------------------------------------


def find(path: str) -> Source:
    """What lies at ``path``: ``-`` is JSON lines on standard input.

    In a folder it is what a store would load: the log if there is one, else the snapshot, else
    what another installed policy finds. Raises OSError, Unreadable.
    """
    if path == "-":
        return Lines(path)
    if os.path.isdir(path):
        return _find_in_folder(path)
    kind = _kind_of_file(path)
    if kind == LOG:
        folder, name = os.path.split(os.path.abspath(path))
        return Log(*_split(folder), name.removesuffix(".manifest"))
    by_kind: dict[str, type[Source]] = {RDB: Rdb, LOG_FILE: LogFile, LINES: Lines}
    return by_kind[kind](path)


def in_folder(path: str) -> list[Source]:
    """Everything of ours that lies in a data folder, the log first. Raises OSError, Unreadable."""
    names = sorted(os.listdir(path))
    snapshots = [n for n in names if n.endswith(".rdb") and not n.startswith("temp-")]
    found: list[Source] = [*_logs(path, names)]
    if not any(n.endswith(".manifest") for n in names):  # else its .rdb files are bases
        found += [Rdb(os.path.join(path, name)) for name in snapshots]
    return found


def _find_in_folder(path: str) -> Source:
    found = in_folder(path)
    logs = [source for source in found if source.kind == LOG]
    choice = logs or found
    if len(choice) > 1 and not logs:
        choice = _newest_snapshot(path) or choice
    if len(choice) > 1:
        names = ", ".join(source.path for source in choice)
        raise Unreadable(f"{path} holds several: {names}. Name one of them")
    if not choice:
        return _ask_policies(path)
    others = [source.path for source in found if source is not choice[0]]
    if others and logs:
        choice[0].warnings.append(
            f"reading the log {choice[0].path}, not {', '.join(others)} beside it"
        )
    return choice[0]


def _newest_snapshot(path: str) -> list[Source]:
    """Of several snapshots the newest, if all tell when they were taken; it may have two names."""
    from kvcore_rdb import snapshots

    taken = snapshots.listed(ReadOnlyStorage(path))
    if not all([each.ours for each in taken]):
        return []
    source = Rdb(os.path.join(path, taken[0].name))
    others = ", ".join([each.name for each in taken if each.when != taken[0].when])
    if others:
        source.warnings.append(f"reading {source.path}, which is newer than {others}")
    return [source]


def _logs(path: str, names: list[str]) -> Iterator[Log]:
    """The logs of a data folder, or the one whose folder this is."""
    manifests = [name for name in names if name.endswith(".manifest")]
    for name in manifests:
        yield Log(*_split(os.path.abspath(path)), name.removesuffix(".manifest"))
    if manifests:
        return
    for folder in names:
        inner = os.path.join(path, folder)
        if os.path.isdir(inner):
            for name in sorted(os.listdir(inner)):
                if name.endswith(".manifest"):
                    manifests.append(name)
                    yield Log(path, folder, name.removesuffix(".manifest"))
    if not manifests:
        for name in names:
            if name.endswith(".aof") and not name.startswith("temp-"):
                yield Log(path, str(Config()["appenddirname"]), name)


def _split(folder: str) -> tuple[str, str]:
    """(data folder, name in it) of a log's folder."""
    root, name = os.path.split(folder)
    return root, name or "."


def _ask_policies(path: str) -> Source:
    storage = ReadOnlyStorage(path)
    for name in sorted(plugins.installed()):
        if name in plugins.OURS:
            continue
        try:
            policy = plugins.load_policy(name)
        except PluginError:
            continue
        config = Config()
        config.add(policy.options)
        if policy.probe(storage, config).has_data:
            return Other(path, policy, config)
    raise Unreadable(f"{path} holds no data of any installed persistence")


def _kind_of_file(path: str) -> str:
    """By what the file begins with; by its name where that says nothing. Raises OSError."""
    with open_regular(path) as file:
        head = file.read(8)
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".manifest":
        return LOG
    if head.startswith((b"REDIS", b"VALKEY")):
        return LOG_FILE if suffix == ".aof" else RDB
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    if head[:1] in (b"*", b"#"):
        return LOG_FILE
    if head[:1] == b"{":
        return LINES
    how = f"begins with {head!r}" if head else "is empty"
    raise Unreadable(f"{path} is neither RDB, AOF, AOF manifest nor JSON lines: it {how}")


def open_regular(path: str) -> BinaryIO:
    """Open for reading. A pipe or a device is refused: it could block, or never end."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise Unreadable(f"{path} is no regular file")
    return open(path, "rb")


class _without_garbage:
    """A load makes no garbage, and the search for it takes a fifth of the time."""

    def __enter__(self) -> None:
        self._collecting = gc.isenabled()
        gc.disable()

    def __exit__(self, *error: object) -> None:
        if self._collecting:
            gc.enable()
