"""A log's files to a loader, and the repair of what a crash has torn."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from kvcore.config import Config
from kvcore.errors import CorruptData
from kvcore.persistence import Loader
from kvcore_aof import base
from kvcore_aof.folder import Folder
from kvcore_aof.manifest import BASE, Manifest, Part


class Loading:
    """Loads the files of a log, in order, and touches none.

    After `run`: ``manifest`` as it was found, and what `repair` has to do.
    """

    def __init__(self, folder: Folder, config: Config, log: Any) -> None:
        self.manifest = Manifest()
        self._folder = folder
        self._config = config
        self._log = log
        self._torn: Part | None = None
        self._whole = 0

    def run(self, loader: Loader) -> None:
        """Raises CorruptData."""
        begin = time.perf_counter()
        folder = self._folder
        self.manifest = folder.read_or_adopt()
        parts = self.manifest.parts
        sizes = [folder.size(part) for part in parts]
        # Behind the last file with data there may be empty ones, which a crash left so.
        last = max((i for i, size in enumerate(sizes) if size), default=-1)
        before = 0
        for i, part in enumerate(parts):
            self._load(loader, part, sizes[i], before, sum(sizes), is_last=i >= last)
            before += sizes[i]
        if before:
            seconds = time.perf_counter() - begin
            self._log.info(f"DB loaded from append only file: {seconds:.3f} seconds")

    def _load(
        self, loader: Loader, part: Part, size: int, before: int, total: int, *, is_last: bool
    ) -> None:
        begin = time.perf_counter()
        folder = self._folder
        path = folder.describe(part)
        is_base = part.kind == BASE
        with folder.storage.open(folder.locate(part)) as file:
            source = base.Source(file, size, loader, before, total)
            end, torn, contents = base.load(source, loader, path, self._config, is_base=is_base)
        if contents is not None:
            loader.note(keys_loaded=contents.keys, keys_expired=contents.expired)
            for line in contents.warnings():
                self._log.warning(line, file=path)
        if torn:
            if not is_last or not self._config["aof-load-truncated"]:
                raise _refusal(path, end, torn, is_last=is_last)
            self._log.warning(
                f"!!! Warning: short read while loading the AOF file {part.name}!!! "
                "AOF loaded anyway because aof-load-truncated is enabled",
                file=path,
                offset=end,
                dropped=f"{size - end} bytes: {torn}",
            )
            self._torn, self._whole = part, end
        if size:
            kind = "base" if is_base else "incr"
            seconds = time.perf_counter() - begin
            self._log.info(f"DB loaded from {kind} file {part.name}: {seconds:.3f} seconds")

    def repair(self) -> None:
        """Make the files ready for appending: an old log moves into the folder, a torn end goes.

        Whatever is appended behind a torn end would be read as a part of it.
        """
        folder = self._folder
        old = self.manifest.base
        if old is not None and folder.is_old(old):
            # Redis' order: after a crash in between it is named, and found where it was.
            folder.save(self.manifest)
            folder.take_over(old)
            self._log.info(
                f"Successfully migrated an old-style AOF configuration ({folder.stem}) "
                f"into the AOF directory ({folder.name})."
            )
        if self._torn is not None:
            self._log.warning(f"Truncating the AOF {self._torn.name} at offset {self._whole}")
            path = folder.path(self._torn.name)
            with contextlib.closing(folder.storage.reopen(path)) as file:
                try:
                    file.truncate(self._whole)
                    file.sync()
                except OSError:
                    # Behind what is appended next time, the torn end might come back.
                    folder.distrust()
                    raise
            self._torn = None


def _refusal(path: str, offset: int, torn: str, *, is_last: bool) -> CorruptData:
    """The error for a torn end that may not be cut off."""
    if is_last:
        why = "Unexpected end of file reading the append only file"
        advice = (
            "The file was left as it is; make a backup of it, then redis-check-aof --fix on the "
            "manifest cuts it off there, and so does a start with aof-load-truncated yes"
        )
    else:
        why = "Bad file format reading the append only file: the truncated file is not the last"
        advice = "The files were left as they are; what follows builds on what is missing here"
    return CorruptData(f"{why}: {torn}", path=path, offset=offset, advice=advice)
