"""The log on its disk: the files that make it up, and what still waits to be written.

`Log` is mechanism: it does one thing at a time and raises OSError where the disk fails. When to
write, to sync and to rewrite, and what to do about an error, is the policy's (`kvcore_aof`).
"""

from __future__ import annotations

import time
from typing import Any, Final

from kvcore.codec.output import Output
from kvcore.commits import Batch, Encoder
from kvcore.storage import File
from kvcore_aof.folder import Folder
from kvcore_aof.manifest import Manifest, Part
from kvcore_aof.sync import Syncer

LITTLE: Final = 1 << 16


class Log:
    """A log that is open for appending.

    ``folder``    where its files are; ``manifest`` those that a load would read
    ``file``      the last increment, which is written to
    ``before``    bytes in the parts in front of it
    ``syncer``    makes durable what is written
    ``unsynced``  bytes that were written since the last sync began
    """

    folder: Folder
    manifest: Manifest
    file: File
    before: int
    encoder: Encoder
    syncer: Syncer
    unsynced: int

    def __init__(self, folder: Folder, manifest: Manifest, file: File) -> None:
        self.folder = folder
        self.manifest = manifest
        self.file = file
        self.before = sum(folder.size(part) for part in manifest.parts) - file.size
        self._pending: list[bytes] = []
        self._text = Output()  # behind it
        self._commits: list[Batch] = []  # behind that, not text yet
        self.encoder = Encoder()
        self.syncer = Syncer(folder.distrust)
        # What a process wrote that was killed may be nowhere but in memory yet.
        self.unsynced = file.size

    @property
    def size(self) -> int:
        """Bytes in all parts (INFO aof_current_size)."""
        return self.before + self.file.size

    @property
    def buffered(self) -> int:
        """Bytes that are not written yet (INFO aof_buffer_length)."""
        return sum(map(len, self.pending))

    @property
    def pending(self) -> list[bytes]:
        """Pieces of text that are not written yet."""
        if self._commits:
            self._encode()
        if self._text:
            self._pending += self._text.take()
        return self._pending

    # Writing ----------------------------------------------------------------------------------

    @property
    def sink(self) -> list[Batch] | None:
        """What a commit may be put into without `append`; it is always the same list."""
        return None if self.encoder.timestamps else self._commits

    def append(self, batch: Batch) -> None:
        if self.encoder.timestamps:
            self.encoder.add(batch, self._text, int(time.time()))
        else:
            self._commits.append(batch)  # many become text in one go

    def annotate(self, yes: bool) -> None:
        """Whether commits from now on tell when they were made (aof-timestamp-enabled)."""
        self._encode()
        self.encoder.timestamps = yes

    def separate(self) -> None:
        """What is appended from now on is read without what was appended before."""
        self._encode()
        self.encoder.reset()

    def _encode(self) -> None:
        self.encoder.add_all(self._commits, self._text, 0)

    def write(self) -> None:
        """Write what is pending. On OSError it is still pending, and the file as it was.

        Where a short write cannot be taken back, the rest is pending: it goes on from there.
        """
        if self.syncer.error is not None:
            # What that sync lost may become a hole. At the end it is a torn end, within it damage.
            raise self.syncer.error
        data = b"".join(self.pending)
        file = self.file
        before = file.size
        try:
            file.append(data)
        except OSError:
            if file.size != before:
                try:
                    file.truncate(before)
                except OSError:
                    data = data[file.size - before :]
            self._pending = [data] if data else []
            raise
        self._pending = []
        self.unsynced += len(data)

    def sync(self) -> None:
        """Make what is written durable, here and now."""
        self.syncer.finish(self.file)
        self.unsynced = 0

    def sync_soon(self) -> None:
        """The same in passing: on the syncer's thread, unless it is little and the disk quick."""
        little = self.unsynced <= LITTLE
        self.unsynced = 0
        if little:
            self.syncer.commit(self.file)
        else:
            self.syncer.submit(self.file)

    # Replacing files --------------------------------------------------------------------------

    def rotate(self) -> Part:
        """Go on in a new increment. The last one is durable before: with another behind it, a
        torn end would be damage."""
        self.sync()
        manifest = self.manifest.copy()
        part = self.folder.next_increment(manifest)
        file = self.folder.create(part)
        try:
            manifest.increments.append(part)
            self.folder.save(manifest)
        except BaseException:
            file.close()  # it stays: the manifest may name it already, and it is empty
            raise
        self._go_on(manifest, file, self.size)
        return part

    def replace_base(self, base: Part) -> None:
        """Take into use a base that holds all increments but the last one."""
        manifest = self.manifest.copy()
        manifest.replace_base(base, keep=1)
        self.folder.save(manifest)
        self.manifest = manifest
        self.before = self.folder.size(base)

    def start_anew(self, base: Part, covered: int) -> None:
        """Take into use a base that holds all that was ever written, and of what is pending the
        first ``covered`` pieces; go on in a new increment."""
        manifest = self.manifest.copy()
        part = self.folder.next_increment(manifest)
        file = self.folder.create(part)
        try:
            manifest.replace_base(base, keep=0)
            manifest.increments.append(part)
            self.folder.save(manifest)
        except OSError as error:
            # Either manifest may count now, and only one of them names the file we write to.
            file.close()
            self.syncer.distrust(error)
            raise
        self.syncer.reset()
        self.folder.trust()
        self._pending = self.pending[covered:]
        self._go_on(manifest, file, self.folder.size(base))

    def _go_on(self, manifest: Manifest, file: File, before: int) -> None:
        self.file.close()
        self.file = file
        self.before = before
        self.manifest = manifest
        self.unsynced = 0

    def remove_history(self, log: Any) -> None:
        """Remove the files that are not needed any more; what fails is tried the next time."""
        if not self.manifest.history:
            return
        for part in self.manifest.history:
            log.info(f"Removing the history file {part.name}")
        try:
            self.manifest = self.folder.remove_history(self.manifest)
        except OSError as error:
            log.warning(f"Can't remove the history of the AOF: {error}")

    def close(self) -> None:
        self.syncer.stop()
        self.file.close()
