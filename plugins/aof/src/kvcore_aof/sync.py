"""fsync, on a thread where it is slow: everysec's, and the group commit of ``always``.

One `Syncer` serves one file at a time. Every sync covers all bytes written to the file before it
began, so all commits that wait when it begins become durable with it; those that come while it
runs share the next one. Where that takes milliseconds and some wait already, the next one begins a
moment later: the clients whose replies have just left come in time for it. Without that pause they
would wait for it to end, and the clients would stay two groups that take turns for ever.

A sync that failed is never believed again: the kernel may have dropped the pages, and a later sync
that succeeds says nothing about them (ATC'20, "Can applications recover from fsync failures?").
So ``error`` stays, and all further commits fail, until `reset` for a file that was written anew;
and whoever owns the file is told at once, because it has to be known after a crash as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from kvcore.errors import PersistenceError
from kvcore.storage import File

# A sync that is quicker than this costs less than what the thread takes and gives back.
QUICK_S: Final = 500e-6
# Slow syncs (quick ones taken off) after which the thread does it, and how many are remembered.
SLOW: Final = 4
MEMORY: Final = 8
# A sync that took so long is followed by a pause of a tenth of that, at most PAUSE_S.
LONG_S: Final = 1e-3
PAUSE_S: Final = 1e-3


class Syncer:
    """Makes what was written to a file durable.

    ``error``  why nothing can be made durable any more, or None
    """

    error: OSError | None

    def __init__(self, on_failure: Callable[[], None]) -> None:
        """``on_failure`` is called by the thread in which a sync failed."""
        self.error = None
        self._on_failure = on_failure
        self._slow = 0
        self._pause = 0.0
        self._waiting: list[Future[None]] = []
        self._file: File | None = None
        self._running = False
        self._stopping = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def pending(self) -> int:
        """Syncs that are due or running."""
        return int(self._running) + int(bool(self._waiting))

    def commit(self, file: File) -> Future[None] | None:
        """Make all that was written to ``file`` durable: None if it is, else a Future.

        Here and now where that is quick, on the thread elsewhere.
        """
        if self.error is None and self._slow < SLOW and not self.pending:
            self._sync(file)
            if self.error is None:
                return None
        if self.error is not None:
            return failed(self.error)
        return self.submit(file)

    def submit(self, file: File) -> Future[None]:
        """As `commit`, always on the thread."""
        future: Future[None] = Future()
        with self._changed:
            self._file = file
            self._waiting.append(future)
            if self._thread is None:
                # No reason to keep a process alive: whoever needs the sync waits for the Future.
                self._thread = threading.Thread(target=self._run, name="kvcore-aof", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return future

    def finish(self, file: File) -> None:
        """Wait for the thread, then sync here. Raises OSError, also that of an earlier sync."""
        self.wait()
        if self.error is None:
            self._sync(file)
        if self.error is not None:
            raise self.error

    def wait(self) -> None:
        """Until no sync is due or running."""
        with self._changed:
            while self.pending:
                self._changed.wait()

    def distrust(self, error: OSError) -> None:
        """The file is not what a load would read any more: no commit may succeed."""
        self.error = error

    def reset(self) -> None:
        """A file that was written anew takes the place of the one that cannot be believed."""
        self.wait()
        self.error = None

    def stop(self) -> None:
        """End the thread; the next `submit` would start another."""
        with self._changed:
            thread = self._thread
            self._stopping = True
            self._changed.notify_all()
        if thread is not None:
            thread.join()
        self._thread = None
        self._stopping = False

    def _sync(self, file: File) -> None:
        begin = time.perf_counter()
        try:
            file.sync()
        except OSError as error:
            self.error = error
            self._on_failure()
        seconds = time.perf_counter() - begin
        self._pause = min(seconds / 10, PAUSE_S) if seconds >= LONG_S else 0.0
        if seconds > QUICK_S:
            self._slow = min(self._slow + 1, MEMORY)
        else:
            self._slow = max(self._slow - 1, 0)

    def _run(self) -> None:
        """The thread. It takes no lock but its own (a fork may happen at any time), so no log."""
        while True:
            with self._changed:
                crowded = bool(self._waiting)  # they came while the last sync ran
                while not self._waiting:
                    if self._stopping:
                        return
                    self._changed.wait()
            if crowded and self._pause:
                time.sleep(self._pause)
            with self._changed:
                served, self._waiting = self._waiting, []
                file = self._file
                self._running = True
            if self.error is None and file is not None:
                try:
                    self._sync(file)
                except BaseException as error:  # a bug of the storage must not hang who waits
                    self.error = OSError(f"{type(error).__name__}: {error}")
            for future in served:
                if self.error is None:
                    future.set_result(None)
                else:
                    future.set_exception(_failure(self.error))
            with self._changed:
                self._running = False
                self._changed.notify_all()


def _failure(error: OSError) -> PersistenceError:
    return PersistenceError(f"the append-only file cannot be synced: {error.strerror or error}")


def failed(error: OSError) -> Future[None]:
    """A commit that will not become durable."""
    future: Future[None] = Future()
    future.set_exception(_failure(error))
    return future
