r"""Scripts of commands that run four ways, and must be answered alike.

    def test_counting(compare: Compare) -> None:
        compare(r'''
            # a comment
            SET k "\x01\r\n"
            unordered: SMEMBERS s
            ''')

A script runs embedded, embedded with every value packed before every command (see kvcore.packed),
on our server and on a real redis-server, on the servers in RESP2 and in RESP3, each time from an
empty store. Redis' replies are what the others must answer, down to
their types on the wire and the texts of errors; then DEBUG DIGEST must be the same.

Arguments are quoted as redis-cli quotes them. A word before the command loosens the comparison
of its reply, never that of its type (an error stays an error):

==============  ==============================================================
``unordered:``  elements may come in any order, at any depth
``approx:``     integers may differ by 1 % or by 1: times that pass
``any:``        only the type of the reply counts
``wait: MS``    no command: give keys the time to expire
==============  ==============================================================

For scripts made by programs, a script is also a list of `Step`.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import IO, Any, Final, Literal, get_args

import attrs

import kvcore
from kvcore.codec.output import Output
from kvcore.config.grammar import quote_if_needed, split_args
from kvcore.errors import CommandError
from kvcore.resp import encode3, pack
from tests.datasets import pack_all
from tests.support import RedisServer

Mode = Literal["exact", "unordered", "approx", "any"]

# Few enough that neither side's socket buffer is full before we read.
_PIPELINE: Final = 100
_TIMEOUT: Final = 60.0


@attrs.frozen
class Step:
    """One command of a script; `wait` milliseconds pass before it."""

    argv: tuple[bytes, ...]
    mode: Mode = "exact"
    wait: int = 0

    def __str__(self) -> str:
        mark = "" if self.mode == "exact" else f"{self.mode}: "
        words = b" ".join(quote_if_needed(arg) for arg in self.argv)
        return mark + words.decode("latin-1")


Script = str | Sequence[Step]

_MODES: Final[dict[str, Mode]] = {f"{mode}:": mode for mode in get_args(Mode)}


def parse(script: str) -> list[Step]:
    """The steps of a script's text; raises ValueError for a line that makes no sense."""
    steps: list[Step] = []
    wait = 0
    for line in script.splitlines():
        words = split_args(line.encode())
        if words is None:
            raise ValueError(f"unbalanced quotes: {line}")
        if not words or words[0].startswith(b"#"):
            continue
        mark = words[0].decode("latin-1")
        if mark == "wait:":
            wait += int(words[1])
            continue
        mode = _MODES.get(mark, "exact")
        steps.append(Step(tuple(words[mark in _MODES :]), mode, wait))
        wait = 0
    return steps


# Replies as they are on the wire ------------------------------------------------------------------


class Status(bytes):
    """``+OK``"""


class Failure(bytes):
    """``-ERR …``"""


class NilArray(bytes):
    """``*-1``"""


class Map(list[Any]):
    """``%``: keys and values, in turn."""


class Set(list[Any]):
    """``~``"""


class Push(list[Any]):
    """``>``"""


class VerbatimText(bytes):
    """``=``, with the format in front."""


_ARRAYS: Final[dict[bytes, type[list[Any]]]] = {b"*": list, b"~": Set, b">": Push, b"%": Map}


def read_reply(stream: IO[bytes]) -> object:
    """The next reply of either protocol, with a class of its own for each type of the wire."""
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError(f"the server closed the connection after {line!r}")
    kind, rest = line[:1], line[1:-2]
    match kind:
        case b"+":
            return Status(rest)
        case b"-":
            return Failure(rest)
        case b":":
            return int(rest)
        case b"," | b"(":
            return float(rest) if kind == b"," else int(rest)
        case b"#":
            return rest == b"t"
        case b"_":
            return None
        case b"$" | b"=":
            return _read_bulk(stream, int(rest), bytes if kind == b"$" else VerbatimText)
    if rest == b"-1":
        return NilArray()
    count = int(rest) * (2 if kind == b"%" else 1)
    return _ARRAYS[kind](read_reply(stream) for _ in range(count))


def _read_bulk(stream: IO[bytes], size: int, cls: type[bytes]) -> bytes | None:
    if size < 0:
        return None
    data = stream.read(size + 2)
    if len(data) != size + 2:
        raise EOFError("the server closed the connection within a reply")
    return cls(data[:-2])


class Connection:
    """A plain client of one server, in one protocol."""

    def __init__(self, server: RedisServer, protocol: int) -> None:
        self._protocol = b"%d" % protocol
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=_TIMEOUT)
        self._stream = self._socket.makefile("rb")

    def send(self, *commands: Sequence[bytes]) -> None:
        self._socket.sendall(b"".join(pack(argv) for argv in commands))

    def read(self) -> object:
        return read_reply(self._stream)

    def call(self, *argv: bytes) -> object:
        self.send(argv)
        return self.read()

    def run(self, steps: Sequence[Step]) -> list[object]:
        """Run a script, from an empty store; the replies to `_END` come last."""
        self.call(b"RESET")
        self.call(b"HELLO", self._protocol)
        self.call(b"FLUSHALL")
        replies: list[object] = []
        for batch in _batches([*steps, *_END]):
            time.sleep(batch[0].wait / 1000)
            self.send(*(step.argv for step in batch))
            replies += [self.read() for _ in batch]
        return replies

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


# What ends every script: the digest of the data, not queued in a MULTI that the script left open.
_END: Final = (Step((b"DISCARD",)), Step((b"DEBUG", b"DIGEST")))


def _batches(steps: Sequence[Step]) -> Iterable[list[Step]]:
    """Commands that may be sent together: none waits but the first."""
    batch: list[Step] = []
    for step in steps:
        if batch and (step.wait or len(batch) == _PIPELINE):
            yield batch
            batch = []
        batch.append(step)
    yield batch


def run_embedded(
    store: kvcore.Store, steps: Sequence[Step], *, packed: bool = False
) -> list[object]:
    """Run a script in this process; the values as RESP3 would write them."""
    store.execute(b"RESET")
    store.execute(b"FLUSHALL")
    replies: list[object] = []
    for step in [*steps, *_END]:
        time.sleep(step.wait / 1000)
        if packed:
            pack_all(store.instance.keyspace)
        value: object
        try:
            value = store.execute(*step.argv)
        except CommandError as error:
            value = error
        written = Output()
        encode3(value, written)
        replies.append(read_reply(io.BytesIO(b"".join(written.take()))))
    return replies


# Comparing ----------------------------------------------------------------------------------------


def same(expected: object, actual: object, mode: Mode) -> bool:
    """Is ``actual`` what ``expected`` asks for? Of the same type on the wire in any mode."""
    if type(expected) is not type(actual):
        return False
    if mode == "any":
        return True
    if mode == "unordered":
        return _sorted(expected) == _sorted(actual)
    if mode == "approx":
        return _close(expected, actual)
    return expected == actual


def _sorted(value: object) -> object:
    if not isinstance(value, list):
        return repr(value)
    if isinstance(value, Map):
        value = [*zip(value[::2], value[1::2])]
    return sorted(map(_sorted, value), key=repr)


def _close(expected: object, actual: object) -> bool:
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_close, expected, actual))
    if isinstance(expected, int) and isinstance(actual, int):
        # Zero and below have a meaning: no key, no expiry, no time left.
        if min(expected, actual) < 0:
            return expected == actual
        return abs(expected - actual) <= max(1, abs(expected) // 100)
    return expected == actual


class Compare:
    """Runs scripts every way and fails with the first step that is not answered alike."""

    def __init__(self, redis: RedisServer, ours: RedisServer, store: kvcore.Store) -> None:
        self._redis = [Connection(redis, 2), Connection(redis, 3)]
        self._ours = [Connection(ours, 2), Connection(ours, 3)]
        self._store = store

    def __call__(self, script: Script) -> None:
        steps = parse(script) if isinstance(script, str) else list(script)
        expected2, expected3 = [connection.run(steps) for connection in self._redis]
        actual2, actual3 = [connection.run(steps) for connection in self._ours]
        embedded = run_embedded(self._store, steps)
        packed = run_embedded(self._store, steps, packed=True)
        self._check("RESP2", steps, expected2, actual2)
        self._check("RESP3", steps, expected3, actual3)
        self._check("embedded", steps, expected3, embedded)
        self._check("embedded and packed", steps, expected3, packed)

    def _check(
        self, way: str, steps: list[Step], expected: list[object], actual: list[object]
    ) -> None:
        for number, step in enumerate([*steps, *_END]):
            if not same(expected[number], actual[number], step.mode):
                before = "".join(f"    {each}\n" for each in steps[:number][-20:])
                raise AssertionError(
                    f"{way}: after\n{before}the reply to  {step}\n"
                    f"    is         {actual[number]!r}\n"
                    f"    Redis says {expected[number]!r}"
                )

    def close(self) -> None:
        for connection in chain(self._redis, self._ours):
            connection.close()
