"""What a store may do with damaged files: load something, or refuse them with one sentence.

`Fuzzer` starts a store on a folder in memory whose files are damaged (`kvcore.testing.mutation`)
and raises AssertionError for anything else: another exception, a file that a refusal has changed,
work without end, memory out of proportion, or a second start that finds something else.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any, Final

import kvcore
from kvcore.errors import ConfigError, CorruptData, KvcoreError, PersistenceError
from kvcore.store import Store
from kvcore.testing.mutation import shrink
from kvcore.testing.storage import FaultyStorage
from kvcore.testing.workload import fingerprint

WORK_S: Final = 20.0  # of this process' CPU: a start on a few KB takes some ms
MEMORY: Final = 2 << 20  # bytes that a store takes, whatever it loads
MEASURED: Final = 4  # each so many starts memory is watched, which makes a start four times slower
TIMES: Final = 100  # what it may take for each byte of the files: LZF alone makes 88 of one


class Endless(BaseException):
    """Work without end. No Exception, so that nobody takes it for an error of the file."""


class Fuzzer:
    """Starts a store with this policy and these options on one damaged folder after the other.

    ``counts``  how many of them were ``loaded``, ``refused``, or ``loaded, refused when read``:
                where a checksum is right, values are looked at only once somebody wants them
    """

    counts: Counter[str]

    def __init__(self, persistence: str, options: Mapping[str, object]) -> None:
        self.persistence = persistence
        self.options: dict[str, Any] = {"save": "", **options}
        self.counts = Counter()
        self._started = 0

    def start(self, contents: Mapping[str, bytes], **options: object) -> str:
        """What became of it, as in ``counts``; raises AssertionError with the smallest files that
        fail in the same way."""
        failure = self._try(contents, options)
        if not isinstance(failure, BaseException):
            self.counts[failure] += 1
            return failure
        files = dict(contents)
        for name in contents:

            def fails(content: bytes, name: str = name) -> bool:
                return type(self._try({**files, name: content}, options)) is type(failure)

            if not isinstance(failure, Endless):
                files[name] = shrink(files[name], fails)
        raise AssertionError(f"{failure!r}\nwith the options {options} and the files {files}")

    def _try(
        self, contents: Mapping[str, bytes], options: Mapping[str, object]
    ) -> str | BaseException:
        self._started += 1
        try:
            with _bounded(sum(map(len, contents.values())), self._started % MEASURED == 0):
                return self._start(dict(contents), {**self.options, **options})
        except (Exception, Endless) as error:
            return error

    def _start(self, contents: dict[str, bytes], options: dict[str, Any]) -> str:
        storage = FaultyStorage.of(contents)
        try:
            store = self._open(storage, options)
        except (CorruptData, ConfigError, PersistenceError) as error:
            _check_refusal(error, contents)
            assert storage.contents() == contents, "a refusal has changed the files"
            return "refused"
        with contextlib.closing(store):
            state = _state(store)
            store.execute("SET", "written behind it", 1)
            after = _state(store)
            store.close(save=True)
        if state is None or after is None:
            return "loaded, refused when read"
        with contextlib.closing(self._open(storage, options)) as store:
            assert _state(store) == after, "the second start finds something else"
        return "loaded"

    def _open(self, storage: FaultyStorage, options: dict[str, Any]) -> Store:
        return kvcore.open(
            None, self.persistence, storage=storage, tick=False, **{**self.options, **options}
        )


def _state(store: Store) -> str | None:
    """What the store holds, once what is due has expired; None if some value is damaged."""
    keyspace = store.instance.keyspace
    try:
        for db in keyspace.databases:
            for key in list(db.expires.keys()):
                store.execute("SELECT", db.index)
                store.execute("EXISTS", key)
        store.execute("SELECT", 0)
        return fingerprint(keyspace)
    except KvcoreError as error:
        _check_sentence(str(error))
        return None


def _check_refusal(error: KvcoreError, contents: Mapping[str, bytes]) -> None:
    """It is one sentence or two, and says which file, and where in it."""
    _check_sentence(str(error))
    if not isinstance(error, CorruptData):
        return
    named = [name for name in contents if os.path.basename(name) == os.path.basename(error.path)]
    if not named:
        assert error.path, f"no file is named: {error}"
        assert error.offset == -1, f"an offset in a file that is missing: {error}"
    elif contents[named[0]]:
        assert 0 <= error.offset <= len(contents[named[0]]), f"no offset is told: {error}"


def _check_sentence(text: str) -> None:
    assert text
    assert text.isprintable(), f"not to be printed: {text!r}"


@contextlib.contextmanager
def _bounded(size: int, measure: bool) -> Iterator[None]:
    """A limit on CPU time and, if it is measured, on memory."""
    peak = 0
    with _alarm(WORK_S):
        if measure:
            tracemalloc.start()
        try:
            yield
            if measure:
                _, peak = tracemalloc.get_traced_memory()
        finally:
            if measure:
                tracemalloc.stop()
    assert peak <= MEMORY + TIMES * size, f"{peak} bytes of memory for files of {size} bytes"


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise Endless after so much CPU time of this process."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Endless(f"still at work after {seconds:.0f} s of CPU")

    former: Callable[[int, FrameType | None], Any] | int | None
    former = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, former)
