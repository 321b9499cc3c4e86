"""One process at a time may have a data folder open."""

from __future__ import annotations

import contextlib
import os

from kvcore.errors import StoreLocked
from kvcore.storage import LocalStorage, Storage

try:
    import fcntl
except ImportError:  # no such module on Windows; the kernel's own sharing rules protect there
    fcntl = None  # type: ignore[assignment]

NAME = "kvcore.lock"


class FolderLock:
    """An advisory lock on ``kvcore.lock``, gone with the process that took it.

    The file holds the owner's pid for the message and stays: removing it would let two processes
    lock two different files of one name.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._fd = -1

    def take(self) -> None:
        """Raises StoreLocked if another process (or another store of this one) has the folder,
        or if this one may not write there."""
        if fcntl is None or not isinstance(self._storage, LocalStorage):
            return
        path = self._storage.describe(NAME)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreLocked(f"the data folder cannot be locked: {error}") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise StoreLocked(
                f"the data folder {self._storage.describe()} is open in another store "
                f"(pid {owner}); close that one, or choose another dir"
            ) from None
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        self._fd = fd

    def forget(self) -> None:
        """In a forked child: the lock is the parent's alone."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def release(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1
