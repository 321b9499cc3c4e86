"""A background child without a process: deterministic, and it writes where its parent reads.

What a forked child writes into memory is lost to its parent. So a `FaultyStorage` runs the task of
`kvcore.persistence.Host.background` on a thread that reads a `kvcore.snapshot.StableView`, and lets
it go on only while the parent polls, some keys and operations at a time: one of the two runs, never
both.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from kvcore.keyspace import Keyspace
from kvcore.persistence import View
from kvcore.snapshot import Child, Killed, StableView, Task

# Keys and operations that a child gets done between two looks of its parent.
STEPS = (0, 0, 1, 2, 5, 20, 1000)


class StepView(View):
    """A view that pauses before each key."""

    def __init__(self, view: View, pause: Callable[[], None]) -> None:
        self.types = view.types
        self._view = view
        self._pause = pause

    def databases(self) -> Iterable[tuple[int, int, int]]:
        return self._view.databases()

    def entries(self, db: int) -> Iterator[tuple[bytes, object, int]]:
        for entry in self._view.entries(db):
            self._pause()
            yield entry


class StepChild(Child):
    """A `kvcore.snapshot.Child` that waits for its turn before each key and each operation.

    ``siblings`` is where the storage finds the child of a thread, by the thread's number.
    """

    def __init__(
        self,
        purpose: str,
        pid: int,
        keyspace: Keyspace,
        task: Task,
        chance: random.Random,
        siblings: dict[int, StepChild],
    ) -> None:
        super().__init__(purpose, pid, keyspace.size())
        self._keyspace = keyspace
        self._view = StepView(StableView(keyspace), self.pause)
        self._task = task
        self._chance = chance
        self._siblings = siblings
        self._go = threading.Semaphore(0)
        self._paused = threading.Semaphore(0)
        self._over = False
        self._ordered_to_end = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="kvcore-child", daemon=True)
        self._thread.start()
        self._paused.acquire()

    def poll(self) -> bool:
        """As `Child.poll`; lets the child do some of its work before it looks."""
        for _ in range(self._chance.choice(STEPS)):
            if self._over:
                break
            self._step()
        return self._look()

    def wait(self) -> None:
        while not self._look():
            self._step()

    def kill(self) -> None:
        if self.running:
            self.end()
            self._look()

    def end(self) -> None:
        """Kill it, as a signal would: it does nothing more, not even tidy up."""
        if not self._over:
            self._ordered_to_end = True
            self._step()
            self._killed_by(signal.SIGKILL)

    def pause(self) -> None:
        """On the child's thread: wait for the next turn."""
        if not self._ordered_to_end:
            self._paused.release()
            self._go.acquire()
        if self._ordered_to_end:
            raise Killed

    def _step(self) -> None:
        self._go.release()
        self._paused.acquire()

    def _look(self) -> bool:
        if self._over and self.running:
            self._keyspace.thaw()
            self.ended = time.time()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return not self.running

    def _progress(self, keys: int) -> None:
        self.done = keys

    def _run(self) -> None:
        self._siblings[threading.get_ident()] = self
        try:
            self.pause()
            self._task(self._view, self._progress)
            self.done = self.total
        except Killed:
            pass
        except OSError as error:
            self.error = error.strerror or str(error)
        except Exception as error:
            self.error = str(error) or type(error).__name__
        except BaseException as error:  # the power failed in the child's operation
            self._failure = error
        finally:
            self._siblings.pop(threading.get_ident(), None)
            self._over = True
            self._paused.release()
