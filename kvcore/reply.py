"""The values of replies that Python has no type for.

Commands return plain values: ``int``, ``bytes``, ``None``, ``list``, ``str`` (a status),
``float``, ``dict``, ``set``, ``bool``. These few say more than one of those can. Each is the
plain value for whoever does not care: a `Pairs` is a list of pairs, a `Verbatim` is bytes.

This module stays uncompiled: mypyc has no native subclasses of bytes, float or list.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

OK: Final = "OK"
QUEUED: Final = "QUEUED"


class Pairs(list[tuple[Any, Any]]):
    """Pairs in order, such as members with scores: flat in RESP2, an array of pairs in RESP3."""


class PairMap(dict[Any, Any]):
    """A map whose RESP2 form is not flat but an array of pairs: XREAD's streams."""


class LongDouble(float):
    """A double that is written in decimals, 17 at most, never with an exponent: coordinates."""


class Push(list[Any]):
    """A message that answers no command (pub/sub, invalidation): ``>`` in RESP3, an array in RESP2.

    The first element is the kind of the message, as bytes.
    """


class Verbatim(bytes):
    """Text for people to read, with its three-letter format: a plain bulk in RESP2."""

    format: str

    def __new__(cls, text: bytes, format: str = "txt") -> Verbatim:
        self = super().__new__(cls, text)
        self.format = format
        return self


class Later:
    """A reply that its client waits for, and nobody else: its further commands wait as well.

    ``future``   what it waits for; None if only time ends the wait
    ``seconds``  how long at most; 0 for ever
    ``finish``   gives the plain reply then, or raises CommandError
    """

    def __init__(
        self, future: Future[None] | None, seconds: float, finish: Callable[[], object]
    ) -> None:
        self.future = future
        self.seconds = seconds
        self.finish = finish

    def wait(self) -> object:
        """Wait here, for a program that may: the reply."""
        over = threading.Event()
        if self.future is not None:
            self.future.add_done_callback(lambda future: over.set())
        over.wait(self.seconds or None)
        return self.finish()


class NilArray:
    """The type of `NIL_ARRAY`: no array, where nil would be no bulk (``*-1`` in RESP2)."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "NIL_ARRAY"


NIL_ARRAY: Final = NilArray()


def plain(value: object) -> object:
    """A reply as a program wants it, to whom "no array" is None too."""
    return None if value is NIL_ARRAY else value
