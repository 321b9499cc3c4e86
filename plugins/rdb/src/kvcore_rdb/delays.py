"""Redis' hidden directives that slow a save or a load down, for tests of what happens meanwhile.

``rdb-key-save-delay`` and ``key-load-delay`` are microseconds for each key, or, if negative, how
many keys share one microsecond.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from kvcore.config import Config
from kvcore.datatype import Limits, TypeRegistry
from kvcore.persistence import Loader, View

_SLICE: Final = 20_000  # µs


def pause(delay: int, done: int) -> None:
    """What one key, the ``done``-th, costs."""
    if delay > 0:
        time.sleep(delay / 1e6)
    elif delay < 0 and done % -delay == 0:
        time.sleep(1e-6)


class SlowView(View):
    """A view whose keys come with a delay. ``progress`` is called meanwhile: it may end the task,
    which must not wait for the delay then."""

    def __init__(self, view: View, delay: int, progress: Callable[[int], None]) -> None:
        self._view = view
        self._delay = delay
        self._progress = progress
        self._done = 0
        self.types = view.types

    def databases(self) -> Iterable[tuple[int, int, int]]:
        return self._view.databases()

    def entries(self, db: int) -> Iterator[tuple[bytes, object, int]]:
        for entry in self._view.entries(db):
            self._wait()
            yield entry
            self._done += 1

    def _wait(self) -> None:
        left = self._delay
        while left > _SLICE:
            pause(_SLICE, self._done)
            self._progress(self._done)
            left -= _SLICE
        pause(left, self._done)


class SlowLoader(Loader):
    """A loader that takes its time for each key, as long as the configuration says so."""

    def __init__(self, loader: Loader, config: Config) -> None:
        self._loader = loader
        self._config = config
        self._done = 0
        self.takes_packed = loader.takes_packed

    def restore(self, db: int, key: bytes, value: object, expiry: int = -1) -> None:
        self._done += 1
        pause(int(self._config["key-load-delay"]), self._done)
        self._loader.restore(db, key, value, expiry)

    def expect(self, db: int, keys: int, expiring: int) -> None:
        self._loader.expect(db, keys, expiring)

    def verify(self) -> None:
        self._loader.verify()

    def replay(self, db: int, argv: list[bytes]) -> None:
        self._loader.replay(db, argv)

    def progress(self, done: int, total: int) -> None:
        self._loader.progress(done, total)

    def note(self, **fields: object) -> None:
        self._loader.note(**fields)

    @property
    def types(self) -> TypeRegistry:
        return self._loader.types

    @property
    def limits(self) -> Limits:
        return self._loader.limits

    @property
    def now(self) -> int:
        return self._loader.now
