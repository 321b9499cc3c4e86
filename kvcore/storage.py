"""Where bytes go: the small file interface through which every policy touches a disk.

`Storage` is the contract, `LocalStorage` the default. The rules that policies rely on:

* ``append`` puts bytes at the end; they survive a crash only after ``sync`` returned.
* After a failed ``sync`` nothing written since the last good one may be believed on disk, even
  if a later sync succeeds (the kernel may have dropped the pages): write the file anew.
* ``rename`` replaces atomically; new names, renames and removals survive a crash only after
  ``sync_dir`` returned.

Names are relative, without ``..``; folders one level deep (``appendonlydir/x``) are allowed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final

import attrs

if TYPE_CHECKING:
    from kvcore.keyspace import Keyspace
    from kvcore.persistence import View
    from kvcore.snapshot import Child


_COPY_BYTES: Final = 1 << 20
# How file systems say that they have no hard links, or no more of them.
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@attrs.frozen
class Stat:
    """Size in bytes and time of the last change in Unix seconds."""

    size: int
    mtime: float


class File:
    """A file open for appending."""

    name: str
    size: int

    def append(self, data: bytes) -> None:
        """Write all of ``data`` at the end. On OSError ``size`` tells how much is there."""
        raise NotImplementedError

    def sync(self) -> None:
        """fdatasync: what was appended is durable on return."""
        raise NotImplementedError

    def truncate(self, size: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Storage:
    """A folder of files; see the module for what is durable when.

    A background child may use it at the same time as the store, on a thread of its own.
    """

    def describe(self, name: str = "") -> str:
        """How messages call a file: its path."""
        raise NotImplementedError

    def open(self, name: str) -> BinaryIO:
        """Open for reading; raises FileNotFoundError."""
        raise NotImplementedError

    def create(self, name: str) -> File:
        """Make an empty file (or empty it) for appending."""
        raise NotImplementedError

    def reopen(self, name: str) -> File:
        """Open an existing file for appending at its end."""
        raise NotImplementedError

    def stat(self, name: str) -> Stat | None:
        """None if there is no such file."""
        raise NotImplementedError

    def list(self, folder: str = "") -> list[str]:
        """Names in a folder, sorted; empty if there is no such folder."""
        raise NotImplementedError

    def make_folder(self, folder: str) -> None:
        raise NotImplementedError

    def rename(self, old: str, new: str) -> None:
        raise NotImplementedError

    def link(self, name: str, other: str) -> None:
        """Let a file have a second name, or where there is no such thing, a durable copy.

        The file must not be appended to any more. The name must be free, and survives a crash only
        after ``sync_dir``.
        """
        with contextlib.closing(self.create(other)) as copy:
            with self.open(name) as file:
                while data := file.read(_COPY_BYTES):
                    copy.append(data)
            copy.sync()

    def remove(self, name: str) -> None:
        """Remove a file; no error if it is gone."""
        raise NotImplementedError

    def sync_dir(self, folder: str = "") -> None:
        raise NotImplementedError

    def start_child(
        self,
        purpose: str,
        keyspace: Keyspace,
        task: Callable[[View, Callable[[int], None]], None],
    ) -> Child | None:
        """Start a background child in a way of your own; None: as usual (see kvcore.snapshot).

        For a storage that lives in this process' memory: what a forked process writes there would
        be lost.
        """
        return None

    def replace(self, name: str, data: bytes) -> None:
        """Write a small file whole and durably: temporary file, fsync, rename, fsync of folder."""
        folder = os.path.dirname(name)
        temp = os.path.join(folder, f"temp-{os.path.basename(name)}")
        file = self.create(temp)
        try:
            file.append(data)
            file.sync()
        finally:
            file.close()
        self.rename(temp, name)
        self.sync_dir(folder)


class NoStorage(Storage):
    """The storage of a store that was opened without a folder: always empty, never written."""

    def describe(self, name: str = "") -> str:
        return name or "(in memory)"

    def open(self, name: str) -> BinaryIO:
        raise FileNotFoundError(name)

    def stat(self, name: str) -> Stat | None:
        return None

    def list(self, folder: str = "") -> list[str]:
        return []


class LocalFile(File):
    def __init__(self, path: str, name: str, flags: int) -> None:
        self.name = name
        self._fd = os.open(path, flags | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.size = os.fstat(self._fd).st_size

    def append(self, data: bytes) -> None:
        while data:
            done = os.write(self._fd, data)
            self.size += done
            data = data[done:]  # empty, but where the disk is full or a signal came

    def sync(self) -> None:
        # fdatasync also flushes the size, which is all the metadata that reading back needs.
        getattr(os, "fdatasync", os.fsync)(self._fd)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._fd, size)
        self.size = size

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class LocalStorage(Storage):
    """A folder of the local file system."""

    root: str

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def _path(self, name: str) -> str:
        if os.path.isabs(name) or ".." in name.split(os.sep):
            raise ValueError(f"{name!r} is not a plain file name")
        return os.path.join(self.root, name)

    def describe(self, name: str = "") -> str:
        return os.path.join(self.root, name) if name else self.root

    def open(self, name: str) -> BinaryIO:
        return open(self._path(name), "rb")

    def create(self, name: str) -> File:
        return LocalFile(self._path(name), name, os.O_CREAT | os.O_TRUNC)

    def reopen(self, name: str) -> File:
        return LocalFile(self._path(name), name, 0)

    def stat(self, name: str) -> Stat | None:
        try:
            found = os.stat(self._path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stat(found.st_size, found.st_mtime)

    def list(self, folder: str = "") -> list[str]:
        try:
            return sorted(os.listdir(self._path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def make_folder(self, folder: str) -> None:
        os.makedirs(self._path(folder), exist_ok=True)
        self.sync_dir(os.path.dirname(folder))

    def rename(self, old: str, new: str) -> None:
        os.replace(self._path(old), self._path(new))

    def link(self, name: str, other: str) -> None:
        try:
            os.link(self._path(name), self._path(other))
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            super().link(name, other)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(name))

    def sync_dir(self, folder: str = "") -> None:
        if os.name != "posix":
            return
        fd = os.open(self._path(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class ReadOnlyStorage(LocalStorage):
    """A folder that stays as it is, whatever a policy would like to do there."""

    def create(self, name: str) -> File:
        raise self._refusal(name)

    def reopen(self, name: str) -> File:
        raise self._refusal(name)

    def make_folder(self, folder: str) -> None:
        raise self._refusal(folder)

    def rename(self, old: str, new: str) -> None:
        raise self._refusal(old)

    def link(self, name: str, other: str) -> None:
        raise self._refusal(other)

    def remove(self, name: str) -> None:
        raise self._refusal(name)

    def _refusal(self, name: str) -> OSError:
        return PermissionError(f"{self.describe(name)} is only being read")
