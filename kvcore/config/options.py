"""What an option is: its `Option` record, and the kinds of values there are.

A kind turns words into a value (`parse`), a value into what CONFIG GET answers (`show`), and into
the lines that a file needs to hold it (`lines`). Values are immutable Python objects, named with
each kind. Refusals are `ConfigError`s worded as Redis words them (config.c).
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from kvcore.codec.numbers import parse_float, parse_int
from kvcore.config.grammar import decode, encode, quote, quote_if_needed, split_args
from kvcore.errors import ConfigError

INT_MAX: Final = 2**31 - 1
INT_MIN: Final = -(2**31)
UINT_MAX: Final = 2**32 - 1
LONG_MAX: Final = 2**63 - 1
ULONG_MAX: Final = 2**64 - 1

BAD_DIRECTIVE: Final = "Bad directive or wrong number of arguments"
WRONG_NUMBER: Final = "wrong number of arguments"


class Kind:
    """The base of all kinds.

    `multi`: the value is several words. `adds_up`: further lines of a file add to the value,
    instead of replacing it; it is a tuple then, and the empty one clears it.
    """

    multi = False
    adds_up = False

    def parse(self, words: Sequence[bytes], current: Any) -> Any:
        """The value that `words` mean; `current` is the one that they change."""
        raise NotImplementedError

    def parse_argument(self, argument: bytes, current: Any) -> Any:
        """The same for CONFIG SET, which cuts at every single space, and where '' is no words."""
        if not self.multi:
            return self.parse([argument], current)
        return self.parse(argument.split(b" ") if argument else [], current)

    def show(self, value: Any) -> bytes:
        """What CONFIG GET answers."""
        raise NotImplementedError

    def lines(self, value: Any) -> list[bytes]:
        """What has to follow the option's name, one item for each line."""
        return [self.show(value)]

    def convert(self, value: object, current: Any) -> Any:
        """The value that a Python object means, for keywords of an embedding program."""
        words = list(_words(value))
        if self.multi and len(words) == 1:
            words = split_args(words[0]) or words
        elif not self.multi and len(words) != 1:
            raise ConfigError(WRONG_NUMBER)
        return self.parse(words, current)


def _words(value: object) -> Iterable[bytes]:
    """A Python object as words: containers flattened, booleans as yes and no, None as ''."""
    if value is None:
        yield b""
    elif isinstance(value, bool):
        yield b"yes" if value else b"no"
    elif isinstance(value, bytes):
        yield value
    elif isinstance(value, (str, os.PathLike)):
        yield encode(os.fspath(value))
    elif isinstance(value, Mapping):
        yield from _words(tuple(value.items()))
    elif isinstance(value, Iterable):
        for item in value:
            yield from _words(item)
    else:
        yield str(value).encode()


@attrs.frozen
class Bool(Kind):
    """yes or no: `bool`. With `why_not`, it can only be no, and this says why."""

    why_not: str = ""

    def parse(self, words: Sequence[bytes], current: Any) -> bool:
        word = words[0].lower()
        if word not in (b"yes", b"no"):
            raise ConfigError("argument must be 'yes' or 'no'")
        if word == b"yes" and self.why_not:
            raise ConfigError(self.why_not)
        return word == b"yes"

    def show(self, value: bool) -> bytes:
        return b"yes" if value else b"no"


@attrs.frozen
class Int(Kind):
    """A whole number in `minimum`..`maximum`: `int`. `clamp` moves it into a narrower range."""

    minimum: int = 0
    maximum: int = INT_MAX
    clamp: tuple[int, int] | None = None

    def parse(self, words: Sequence[bytes], current: Any) -> int:
        number = parse_int(words[0])
        if number is None:
            raise ConfigError("argument couldn't be parsed into an integer")
        _check_range(number, self.minimum, self.maximum)
        if self.clamp is not None:
            number = min(max(number, self.clamp[0]), self.clamp[1])
        return number

    def show(self, value: int) -> bytes:
        return b"%d" % value


@attrs.frozen
class Octal(Kind):
    """The mode of a file in octal, 0..777: `int`."""

    def parse(self, words: Sequence[bytes], current: Any) -> int:
        if not re.fullmatch(rb"-?[0-7]{1,20}", words[0]):
            raise ConfigError("argument couldn't be parsed as an octal number")
        number = int(words[0], 8)
        if not 0 <= number <= 0o777:
            raise ConfigError("argument must be between 0 and 777 inclusive")
        return number

    def show(self, value: int) -> bytes:
        return b"%o" % value

    def convert(self, value: object, current: Any) -> int:
        return int(super().convert(f"{value:o}" if isinstance(value, int) else value, current))


_UNITS: Final = {
    b"": 1,
    b"b": 1,
    b"k": 1000,
    b"kb": 1 << 10,
    b"m": 1000**2,
    b"mb": 1 << 20,
    b"g": 1000**3,
    b"gb": 1 << 30,
}


def parse_memory(word: bytes) -> int | None:
    """The bytes that ``100``, ``64kb``, ``1G`` … mean, else None.

    No digits at all mean 0 (Redis: memtoull). What does not fit 64 bits is refused, where Redis
    would wrap it around.
    """
    match = re.fullmatch(rb"([0-9]{0,20})([a-zA-Z]{0,2})", word)
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        return None
    number = int(match[1] or b"0") * unit
    return number if number <= ULONG_MAX else None


def format_memory(size: int) -> bytes:
    """`size` in the greatest unit that divides it, as CONFIG REWRITE writes it."""
    for unit in (b"gb", b"mb", b"kb"):
        if size and size % _UNITS[unit] == 0:
            return b"%d%b" % (size // _UNITS[unit], unit)
    return b"%d" % size


@attrs.frozen
class Memory(Kind):
    """An amount of memory in bytes: `int`. With `percent`, -N stands for N percent of maxmemory."""

    minimum: int = 0
    maximum: int = LONG_MAX
    percent: bool = False

    def parse(self, words: Sequence[bytes], current: Any) -> int:
        number = parse_memory(words[0])
        if number is None and self.percent and words[0].endswith(b"%"):
            share = parse_int(words[0][:-1])
            if share is not None and share >= 0:
                if share > 100:
                    raise ConfigError("percentage argument must be less or equal to 100")
                return -share
        if number is None:
            what = "memory or percent" if self.percent else "memory"
            raise ConfigError(f"argument must be a {what} value")
        _check_range(number, self.minimum, self.maximum)
        return number

    def show(self, value: int) -> bytes:
        return b"%d%%" % -value if value < 0 else b"%d" % value

    def lines(self, value: int) -> list[bytes]:
        return [self.show(value) if value < 0 else format_memory(value)]


@attrs.frozen
class String(Kind):
    """Any text: `str` (bytes that are no UTF-8 as surrogates). `check` may refuse it."""

    check: Callable[[str], None] | None = None

    def parse(self, words: Sequence[bytes], current: Any) -> str:
        value = decode(words[0])
        if self.check is not None:
            self.check(value)
        return value

    def show(self, value: str) -> bytes:
        return encode(value)

    def lines(self, value: str) -> list[bytes]:
        return [quote(encode(value))]


@attrs.frozen
class Enum(Kind):
    """One of `names`: `str`. `same` maps further names to the one that they mean."""

    names: tuple[str, ...]
    same: Mapping[str, str] = attrs.field(factory=dict)

    def parse(self, words: Sequence[bytes], current: Any) -> str:
        name = decode(words[0].lower())
        if name not in self.names:
            raise _not_among(self.names)
        return self.same.get(name, name)

    def show(self, value: str) -> bytes:
        return value.encode()


@attrs.frozen
class Flags(Kind):
    """Any of `names`: a `tuple` of `str` in their order; the first name means none."""

    names: tuple[str, ...]
    check: Callable[[tuple[str, ...]], None] | None = None

    multi = True

    def parse(self, words: Sequence[bytes], current: Any) -> tuple[str, ...]:
        chosen = {decode(word.lower()) for word in words}
        if not chosen or not chosen <= set(self.names):
            raise _not_among(self.names)
        value = tuple(name for name in self.names[1:] if name in chosen)
        if self.check is not None:
            self.check(value)
        return value

    def show(self, value: tuple[str, ...]) -> bytes:
        return " ".join(value or self.names[:1]).encode()


@attrs.frozen
class Directory(Kind):
    """A directory: its absolute path, `str`. A relative one counts from `current`.

    At the start it need not exist yet: whoever stores in it may make it.
    """

    def parse(self, words: Sequence[bytes], current: Any) -> str:
        name = decode(words[0])
        if not name:
            raise ConfigError(os.strerror(errno.ENOENT))
        try:
            path = os.path.realpath(os.path.join(current, name))
            if os.path.exists(path):
                _check_directory(path)
        except OSError as error:
            raise ConfigError(error.strerror or str(error)) from None
        except ValueError:  # a NUL in it
            raise ConfigError(os.strerror(errno.EINVAL)) from None
        return path

    def parse_argument(self, argument: bytes, current: Any) -> str:
        path = self.parse([argument], current)
        if not os.path.exists(path):
            raise ConfigError(os.strerror(errno.ENOENT))
        return path

    def show(self, value: str) -> bytes:
        return encode(value)

    def lines(self, value: str) -> list[bytes]:
        return [quote(encode(value))]


@attrs.frozen
class SavePoints(Kind):
    """Save points: a `tuple` of (seconds, changes). The empty string means none."""

    multi = True
    adds_up = True

    def parse(self, words: Sequence[bytes], current: Any) -> tuple[tuple[int, int], ...]:
        if list(words) == [b""]:
            return ()
        points: list[tuple[int, int]] = []
        for at in range(0, len(words) - 1, 2):
            seconds = _parse_long(words[at])
            changes = _parse_long(words[at + 1])
            if seconds is None or changes is None or seconds < 1 or changes < 0:
                raise ConfigError("Invalid save parameters")
            points.append((seconds, changes))
        if len(words) % 2:
            raise ConfigError("Invalid save parameters")
        return tuple(points)

    def show(self, value: tuple[tuple[int, int], ...]) -> bytes:
        return b" ".join([b"%d %d" % point for point in value])

    def lines(self, value: tuple[tuple[int, int], ...]) -> list[bytes]:
        return [b"%d %d" % point for point in value] or [b'""']


@attrs.frozen
class Bind(Kind):
    """Addresses to listen on: a `tuple` of `str`; ``-`` before one that may be missing."""

    multi = True

    def parse(self, words: Sequence[bytes], current: Any) -> tuple[str, ...]:
        if len(words) > 16:
            raise ConfigError("Too many bind addresses specified.")
        return tuple(decode(word) for word in words if word)

    def show(self, value: tuple[str, ...]) -> bytes:
        return encode(" ".join(value))

    def lines(self, value: tuple[str, ...]) -> list[bytes]:
        return [self.show(value) or b'""']


@attrs.frozen
class ReplicaOf(Kind):
    """The master: (host, port), or None for ``no one``."""

    multi = True

    def parse(self, words: Sequence[bytes], current: Any) -> tuple[str, int] | None:
        if len(words) != 2:
            raise ConfigError(WRONG_NUMBER)
        if [word.lower() for word in words] == [b"no", b"one"]:
            return None
        port = _parse_long(words[1])
        if port is None or not 0 <= port <= 65535:
            raise ConfigError("Invalid master port")
        return decode(words[0]), port

    def show(self, value: tuple[str, int] | None) -> bytes:
        return b"" if value is None else encode(f"{value[0]} {value[1]}")

    def lines(self, value: tuple[str, int] | None) -> list[bytes]:
        return [] if value is None else [self.show(value)]


@attrs.frozen
class BufferLimits(Kind):
    """Output buffer limits: a `tuple` of (class, hard, soft, soft seconds), the classes being
    ``normal``, ``replica`` and ``pubsub``, in this order. A class that is not given stays."""

    multi = True

    def parse(self, words: Sequence[bytes], current: Any) -> tuple[tuple[str, int, int, int], ...]:
        if len(words) % 4:
            raise ConfigError("Wrong number of arguments in buffer limit configuration.")
        limits = {limit[0]: limit for limit in current}
        for at in range(0, len(words), 4):
            name = decode(words[at].lower())
            name = "replica" if name == "slave" else name
            if name not in limits:
                raise ConfigError("Invalid client class specified in buffer limit configuration.")
            hard = parse_memory(words[at + 1])
            soft = parse_memory(words[at + 2])
            seconds = _parse_long(words[at + 3])
            if hard is None or soft is None or seconds is None or seconds < 0:
                raise ConfigError(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration."
                )
            limits[name] = (name, hard, soft, seconds)
        return tuple(limits.values())

    def show(self, value: tuple[tuple[str, int, int, int], ...]) -> bytes:
        # As in Redis, here the replicas' class keeps its old name.
        return " ".join(
            f"{'slave' if name == 'replica' else name} {hard} {soft} {seconds}"
            for name, hard, soft, seconds in value
        ).encode()

    def lines(self, value: tuple[tuple[str, int, int, int], ...]) -> list[bytes]:
        return [
            b"%b %b %b %d" % (name.encode(), format_memory(hard), format_memory(soft), seconds)
            for name, hard, soft, seconds in value
        ]


@attrs.frozen
class OomScores(Kind):
    """Three values for the kernel's OOM killer: a `tuple` of `int`."""

    multi = True

    def parse(self, words: Sequence[bytes], current: Any) -> tuple[int, ...]:
        if len(words) != 3:
            raise ConfigError(WRONG_NUMBER)
        numbers = [_parse_long(word) for word in words]
        scores = tuple(number for number in numbers if number is not None)
        if len(scores) != 3 or min(scores) < -2000 or max(scores) > 2000:
            raise ConfigError(
                "Invalid oom-score-adj-values, elements must be between -2000 and 2000."
            )
        return scores

    def show(self, value: tuple[int, ...]) -> bytes:
        return b" ".join([b"%d" % score for score in value])


_EVENTS: Final = "g$lshzxetd"  # what A stands for
_EVENTS_ORDER: Final = f"{_EVENTS}nKEm"  # as CONFIG GET lists them


@attrs.frozen
class KeyspaceEvents(Kind):
    """Classes of keyspace events: `str` of all their characters, A spelled out."""

    def parse(self, words: Sequence[bytes], current: Any) -> str:
        chosen = set(decode(words[0]))
        if "A" in chosen:
            chosen = chosen - {"A"} | set(_EVENTS)
        if not chosen <= set(_EVENTS_ORDER):
            raise ConfigError("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        return "".join([event for event in _EVENTS_ORDER if event in chosen])

    def show(self, value: str) -> bytes:
        # Redis does not list n beside A; `lines` has to, or a restart would forget it.
        return value.replace(_EVENTS, "A").replace("An", "A").encode()

    def lines(self, value: str) -> list[bytes]:
        return [quote(value.replace(_EVENTS, "A").encode())]


@attrs.frozen
class Percentiles(Kind):
    """Percentiles in 0..100: a `tuple` of `float`. The empty string means none."""

    multi = True

    def parse(self, words: Sequence[bytes], current: Any) -> tuple[float, ...]:
        if list(words) == [b""]:
            return ()
        numbers: list[float] = []
        for word in words:
            number = parse_float(word)
            if number is None:
                raise ConfigError("Invalid latency-tracking-info-percentiles parameters")
            if not 0 <= number <= 100:
                raise ConfigError(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
                )
            numbers.append(number)
        return tuple(numbers)

    def show(self, value: tuple[float, ...]) -> bytes:
        return " ".join(f"{number:.6f}".rstrip("0").rstrip(".") for number in value).encode()

    def lines(self, value: tuple[float, ...]) -> list[bytes]:
        return [self.show(value) or b'""']


@attrs.frozen
class Rules(Kind):
    """Lines that add up, taken as they are: a `tuple` of `tuple`s of words (`bytes`)."""

    least: int
    most: int

    multi = True
    adds_up = True

    def parse(self, words: Sequence[bytes], current: Any) -> tuple[tuple[bytes, ...], ...]:
        if not self.least <= len(words) <= self.most:
            raise ConfigError(BAD_DIRECTIVE)
        return (tuple(words),)

    def convert(self, value: object, current: Any) -> tuple[tuple[bytes, ...], ...]:
        """One line as text, or a list of lines, each as text or as a list of its words."""
        lines = [value] if isinstance(value, (str, bytes)) else value
        if not isinstance(lines, Iterable):
            raise ConfigError("argument must be a line, or a list of lines")
        return tuple(rule for line in lines for rule in super(Rules, self).convert(line, ()))

    def show(self, value: tuple[tuple[bytes, ...], ...]) -> bytes:
        return b"\n".join(self.lines(value))

    def lines(self, value: tuple[tuple[bytes, ...], ...]) -> list[bytes]:
        return [b" ".join([quote_if_needed(word) for word in rule]) for rule in value]


@attrs.frozen
class Option:
    """One directive.

    `mutable`: CONFIG SET may change it. `protected`: only as enable-protected-configs allows.
    `hidden`: a pattern of CONFIG GET does not find it. `sensitive`: a secret, for no log to show.
    `denied_while_loading`: CONFIG SET refuses it during a load. `file_only`: unknown to CONFIG.
    `served`: it means something here; the others are accepted and do nothing.
    """

    name: str
    kind: Kind
    default: Any
    aliases: tuple[str, ...] = attrs.field(default=(), kw_only=True)
    mutable: bool = attrs.field(default=True, kw_only=True)
    protected: bool = attrs.field(default=False, kw_only=True)
    hidden: bool = attrs.field(default=False, kw_only=True)
    sensitive: bool = attrs.field(default=False, kw_only=True)
    denied_while_loading: bool = attrs.field(default=False, kw_only=True)
    file_only: bool = attrs.field(default=False, kw_only=True)
    served: bool = attrs.field(default=True, kw_only=True)

    def parse_line(self, words: Sequence[bytes], current: Any) -> Any:
        """The value of a line of a file, given the words after its name. Raises ConfigError."""
        if self.kind.multi:
            if len(words) == 1 and words[0] and not self.file_only:
                words = split_args(words[0]) or words
        elif len(words) != 1:
            raise ConfigError(WRONG_NUMBER)
        return self.kind.parse(words, current)


def _check_range(number: int, minimum: int, maximum: int) -> None:
    if not minimum <= number <= maximum:
        raise ConfigError(f"argument must be between {minimum} and {maximum} inclusive")


def _not_among(names: Sequence[str]) -> ConfigError:
    return ConfigError(f"argument(s) must be one of the following: {', '.join(names)}")


def _check_directory(path: str) -> None:
    """Raise OSError, as chdir would."""
    if not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(path, os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _parse_long(word: bytes) -> int | None:
    """A number as C's strtol reads it (``+7`` and ``007`` too), except white space and overflow."""
    if not re.fullmatch(rb"[+-]?[0-9]{1,40}", word):
        return None
    number = int(word)
    return number if -LONG_MAX <= number <= LONG_MAX else None
