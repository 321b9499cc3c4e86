r"""RESP, the Redis serialization protocol: bytes to requests, replies to bytes. No I/O here.

Theory of operation
===================

**In.** A client sends *multibulk* requests, ``*2\r\n$3\r\nGET\r\n$1\r\nk\r\n``, and
*inline* ones, ``GET k\r\n``, in any order. `Parser` is a state machine over chunks as they come
off a socket. Its whole state is at most one unfinished request, which is in one of these places:

====================  ========================================================================
between requests      nothing is kept
within a line         ``_rest`` is the start of the line, at most 64 KB, read again with the
                      next chunk
within an argument    ``_pieces`` hold its first ``_held`` bytes of ``_length`` and 2 for CRLF
between arguments     ``_args`` are those complete, ``_missing`` counts those to come
====================  ========================================================================

An argument is copied a fixed number of times and never parsed again once complete, so the work is
linear in the bytes received, however they are cut. Memory follows what was received, never what
was declared.

What is accepted, and the words for what is not, are those of Redis 7.0 (networking.c:
processMultibulkBuffer, processInlineBuffer). Like Redis, the parser skips the two bytes that end
a line or an argument without looking at them: lengths rule, not terminators. Unlike Redis it does
not stop at a zero byte in a line, and a limit of 64 KB holds wherever the chunks were cut.

**Two ways.** The loop in `Parser._parse` reads digit by digit, which mypyc turns into machine
code. The interpreter is quicker at few calls that do much each, so when this module is not
compiled, `_split` takes the usual stream of short arguments first, and leaves what is odd,
long or incomplete to the loop. It only accepts what the loop would, so results are the same.

**Out.** `encode2` and `encode3` write the pieces of one reply to an `Output`. Within an array the
CRLF that ends an element belongs to the header of the next one, which saves a piece per element. A
reply is one line or a counted bulk, so the text of an error or a status must not hold CR or LF
(CVE-2025-67733).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from kvcore.codec.numbers import format_double
from kvcore.codec.output import Output
from kvcore.config.grammar import split_args
from kvcore.errors import CommandError, ProtocolError
from kvcore.reply import NIL_ARRAY, OK, QUEUED, LongDouble, PairMap, Pairs, Push, Verbatim

if TYPE_CHECKING:
    from mypy_extensions import i64

COMPILED: Final = not __file__.endswith(".py")
FORM: Final = "compiled" if COMPILED else "plain"  # as people are told

MAX_LINE: Final = 64 * 1024
MAX_PLAIN: Final = 256  # bytes of a line that are looked at one by one
MAX_ARGS: Final = 2**31 - 1
MAX_DIGITS: Final = 18  # below 2**62; no limit has more

# Before AUTH a stranger must not make the server hold much (CVE-2021-32675). Together with
# MAX_LINE these keep far below the megabyte of query buffer that Redis allows.
UNAUTHENTICATED_ARGS: Final = 10
UNAUTHENTICATED_BULK: Final = 16384

STAR: Final = 42
DOLLAR: Final = 36
LF: Final = 10
VTAB: Final = 11
FORM_FEED: Final = 12
CR: Final = 13
DOUBLE: Final = 34
SINGLE: Final = 39
ZERO: Final = 48
NINE: Final = 57
MANY: Final = 12  # elements from which `_strings` is worth its fixed cost
SHORT: Final = 1024  # elements of a reply that is joined at once,
SMALL: Final = 16384  # and their bytes: pieces are references, a joined reply is a copy
CRLF: Final = b"\r\n"
TINY: Final = 512  # bytes of a piece that is not kept as it came

# Headers and replies of small numbers, the length or the number being the index.
CACHED: Final = 1025
COUNT: Final[list[bytes]] = [b"*%d" % n for n in range(CACHED)]
BULK: Final[list[bytes]] = [b"$%d\r\n" % n for n in range(CACHED)]
NEXT_BULK: Final[list[bytes]] = [b"\r\n$%d\r\n" % n for n in range(CACHED)]
INTEGER: Final[list[bytes]] = [b":%d\r\n" % n for n in range(CACHED)]
STATUS: Final[dict[str, bytes]] = {
    text: b"+%b\r\n" % text.encode()
    for text in (OK, QUEUED, "PONG", "none", "string", "list", "set", "zset", "hash", "stream")
}

# For `_split`: a header line of a short argument, and how many lines a request has.
BULK_LINE: Final[list[bytes]] = [b"$%d" % n for n in range(CACHED)]
REQUEST_LINES: Final[dict[bytes, int]] = {b"*%d" % n: 2 * n + 1 for n in range(1, CACHED)}


class Parser:
    """The requests of one connection.

    The owner may set, at any time:

    - ``authenticated``: whether the narrow limits for strangers are lifted;
    - ``max_bulk``: bytes of one argument (proto-max-bulk-len, which is 1 MB or more);
    - ``max_buffer``: bytes held of an unfinished line or argument (client-query-buffer-limit).

    ``error`` is None until the client breaks the protocol. Then it is the text for ``-ERR``, and
    nothing more is parsed: execute what `feed` returned, send the error, close.

    ``paused`` says that a request over the limits for strangers follows those just returned, one
    of which may be AUTH: execute them, then call ``feed(b"")`` to go on.
    """

    authenticated: bool
    max_bulk: int
    max_buffer: int
    error: str | None
    paused: bool
    _idle: bool  # between requests, nothing kept and nothing wrong
    _rest: bytes
    _args: list[bytes]
    _missing: int
    _pieces: list[bytes]
    _held: int
    _length: int

    def __init__(self) -> None:
        self.authenticated = True
        self.max_bulk = 512 * 1024 * 1024
        self.max_buffer = 1024 * 1024 * 1024
        self.error = None
        self.paused = False
        self._reset()

    def _reset(self) -> None:
        self._idle = self.error is None
        self._rest = b""
        self._args = []
        self._missing = 0
        self._pieces = []
        self._held = 0
        self._length = 0

    def feed(self, data: bytes) -> list[list[bytes]]:
        """Take the next chunk; return the requests that it completes, in order, none empty."""
        commands: list[list[bytes]] = []
        if not self._idle:
            if self.error is not None:
                return commands
            self.paused = False
            if self._pieces:
                data = self._fill(data, commands)
            elif self._rest:
                data = self._rest + data
        try:
            pos = 0
            if not COMPILED and self.authenticated:
                if self._missing:
                    pos = self._parse(data, 0, commands, len(commands) + 1)
                if not self._missing and data[pos : pos + 1] == b"*":
                    pos = _split(data, pos, commands)
                    if self._idle and pos == len(data):
                        return commands
            if pos < len(data):
                pos = self._parse(data, pos, commands, -1)
            if pos == len(data) and not self._held:
                self._rest = b""
                self._idle = self._missing == 0
                return commands
            self._idle = False
            self._rest = data[pos:]
            if self.buffered() > self.max_buffer and not self.paused:
                raise _violation("max query buffer length reached")
        except ProtocolError as error:
            self.error = str(error)
            self._reset()
        return commands

    def buffered(self) -> int:
        """Bytes held that are not yet an argument: ``qbuf`` of CLIENT LIST."""
        return len(self._rest) + self._held

    def _hold(self, data: bytes) -> None:
        """Keep a piece of the unfinished argument."""
        pieces = self._pieces
        # Thousands of tiny pieces would take many times the bytes that they hold.
        if len(data) < TINY and pieces and len(pieces[-1]) < 8 * TINY:
            pieces[-1] += data
        else:
            pieces.append(data)
        self._held += len(data)

    def _fill(self, data: bytes, commands: list[list[bytes]]) -> bytes:
        """Add to the unfinished argument; return what follows it."""
        need = self._length + 2 - self._held
        if len(data) < need:
            self._hold(data)
            return b""
        pieces = self._pieces
        if need >= 2:
            pieces.append(data[: need - 2])
        else:
            pieces[-1] = pieces[-1][:-1]  # its terminator was cut in two
        self._args.append(b"".join(pieces))
        self._pieces = []
        self._held = 0
        self._missing -= 1
        if self._missing == 0:
            commands.append(self._args)
        return data[need:]

    def _parse(  # noqa: PLR0915  (half of its statements declare machine integers)
        self, data: bytes, start: int, commands: list[list[bytes]], most: int
    ) -> int:
        """Parse from ``start`` until there are ``most`` commands; return where it stopped."""
        pos: i64 = start
        size: i64 = len(data)
        line: i64
        stop: i64
        end: i64
        number: i64
        byte: i64
        args = self._args
        missing: i64 = self._missing
        most_args: i64 = MAX_ARGS if self.authenticated else UNAUTHENTICATED_ARGS
        max_bulk: i64 = self.max_bulk
        if not self.authenticated and max_bulk > UNAUTHENTICATED_BULK:
            max_bulk = UNAUTHENTICATED_BULK
        while pos < size:
            line = pos
            number = 0
            pos += 1
            stop = pos + MAX_DIGITS
            if stop > size:
                stop = size
            while pos < stop:
                byte = data[pos]
                if byte < ZERO or byte > NINE:
                    break
                number = number * 10 + byte - ZERO
                pos += 1
            byte = data[line]
            if (
                byte != (DOLLAR if missing else STAR)
                or pos + 1 >= size
                or data[pos] != CR
                or pos == line + 1
                or (pos > line + 2 and data[line + 1] == ZERO)
            ):
                pos = self._unusual(data, line, missing > 0, commands)
                if pos < 0:
                    pos = line
                    break
                continue
            pos += 2
            if number > (max_bulk if missing else most_args):
                self._exceed(number, missing > 0, commands)
                pos = line
                break
            if missing == 0:
                args = []
                missing = number
                continue
            end = pos + number
            if end + 2 > size:
                self._hold(data[pos:])
                self._length = number
                pos = size
                break
            args.append(data[pos:end])
            pos = end + 2
            missing -= 1
            if missing == 0:
                commands.append(args)
                if len(commands) == most:
                    break
        self._args = args
        self._missing = missing
        return pos

    def _exceed(self, number: int, bulk: bool, commands: list[list[bytes]]) -> None:
        """A declared number is over its limit: pause if the limit may be lifted first."""
        if number > (self.max_bulk if bulk else MAX_ARGS):
            raise _violation("invalid bulk length" if bulk else "invalid multibulk length")
        if not commands:
            raise _violation(f"unauthenticated {'bulk' if bulk else 'multibulk'} length")
        self.paused = True

    def _unusual(self, data: bytes, start: int, bulk: bool, commands: list[list[bytes]]) -> int:
        """A line that is no plain header: inline, incomplete, negative or wrong.

        Return where the next line starts, or -1 while this one is incomplete.
        """
        if not bulk and data[start] != STAR:
            return self._inline(data, start, commands)
        end = data.find(b"\r", start, start + MAX_LINE + 1)
        if end < 0 and len(data) - start > MAX_LINE:
            raise _violation(f"too big {'bulk' if bulk else 'mbulk'} count string")
        if end < 0 or end + 1 == len(data):
            return -1
        if bulk and data[start] != DOLLAR:
            raise _violation(f"expected '$', got '{_printable(data[start])}'")
        if bulk:
            raise _violation("invalid bulk length")
        if not _is_negative(data[start + 1 : end]):
            raise _violation("invalid multibulk length")
        return end + 2

    def _inline(self, data: bytes, start: int, commands: list[list[bytes]]) -> int:
        if COMPILED:
            end = _plain_line(data, start)
            if end >= 0:
                args = data[start:end].split()
                if args:
                    commands.append(args)
                return end + 1
        end = data.find(b"\n", start, start + MAX_LINE + 1)
        if end < 0:
            if len(data) - start > MAX_LINE:
                raise _violation("too big inline request")
            return -1
        words = split_args(data[start:end].removesuffix(b"\r"))
        if words is None:
            raise _violation("unbalanced quotes in request")
        if words:
            commands.append(words)
        return end + 1


def _violation(why: str) -> ProtocolError:
    return ProtocolError(f"Protocol error: {why}")


def _plain_line(data: bytes, start: int) -> int:
    """Where a short inline request ends that is but words between white space; -1 if it is not.

    Compiled, this costs less than the searches of `split_args`. Only a word's start passes over
    a vertical tab or a form feed, unlike `bytes.split`: what holds one is not for here.
    """
    pos: i64 = start
    stop: i64 = min(len(data), start + MAX_PLAIN)
    byte: i64
    while pos < stop:
        byte = data[pos]
        if byte < ZERO:  # white space, quotes and NUL are
            if byte == LF:
                return pos
            if byte in (DOUBLE, SINGLE, VTAB, FORM_FEED, 0):
                return -1
        pos += 1
    return -1


def _split(data: bytes, pos: int, commands: list[list[bytes]]) -> int:
    """Take requests of short arguments from ``pos`` on; return where the first other one starts.

    An argument that holds CRLF is cut in two, its length then disagrees, and it is left alone.
    """
    # Searching CRLF costs as much as a nanosecond per byte: not for one long argument.
    if len(data) - pos > 2 * CACHED and data.find(b"\n*", pos, pos + CACHED) < 0:
        return pos
    lines = (data[pos:] if pos else data).split(CRLF)
    last = len(lines) - 1
    done = 0
    try:
        while done < last:
            stop = done + REQUEST_LINES[lines[done]]
            if stop > last:
                break
            args = lines[done + 2 : stop : 2]
            line = done + 1
            for arg in args:
                if lines[line] != BULK_LINE[len(arg)]:
                    raise LookupError
                line += 2
            commands.append(args)
            done = stop
    except LookupError:
        pass  # no such header among the short ones
    if done == last and not lines[last]:
        return len(data)
    return pos + sum(map(len, lines[:done])) + 2 * done


def _is_negative(text: bytes) -> bool:
    """Whether it is a 64-bit integer below zero, in the one way to write it (string2ll)."""
    digits = text[1:]
    if text[:1] != b"-" or len(text) > 20 or not digits.isdigit() or digits[:1] == b"0":
        return False
    return int(digits) <= 2**63


def _printable(byte: int) -> str:
    return chr(byte) if 32 <= byte < 127 else " "


def encode2(value: object, out: Output) -> None:
    """Write a reply in RESP2. The form of a list of bytes is also that of a request.

    Raises TypeError for a value that is no reply; ``out`` may then hold a part of it.
    """
    if type(value) is bytes:
        if COMPILED or len(value) >= CACHED:
            _bulk(value, out)
        else:
            out.write(BULK[len(value)] + value + CRLF)
    elif type(value) is int:
        if 0 <= value < CACHED:
            out.write(INTEGER[value])
        elif COMPILED:
            out.write(b":")
            out.number(value)
            out.write(CRLF)
        else:
            out.write(b":%d\r\n" % value)
    elif value is None:
        out.write(b"$-1\r\n")
    elif type(value) is str:
        out.write(STATUS.get(value) or _line(b"+", value))
    elif type(value) is list:
        count = len(value)
        _aggregate(COUNT[count] if count < CACHED else b"*%d" % count, value, out, False)
    else:
        _encode2_other(value, out)


def encode3(value: object, out: Output) -> None:
    """Write a reply in RESP3. Raises as `encode2` does."""
    if type(value) is bytes:
        if COMPILED or len(value) >= CACHED:
            _bulk(value, out)
        else:
            out.write(BULK[len(value)] + value + CRLF)
    elif type(value) is int:
        if 0 <= value < CACHED:
            out.write(INTEGER[value])
        elif COMPILED:
            out.write(b":")
            out.number(value)
            out.write(CRLF)
        else:
            out.write(b":%d\r\n" % value)
    elif value is None:
        out.write(b"_\r\n")
    elif type(value) is str:
        out.write(STATUS.get(value) or _line(b"+", value))
    elif type(value) is list:
        count = len(value)
        _aggregate(COUNT[count] if count < CACHED else b"*%d" % count, value, out, True)
    else:
        _encode3_other(value, out)


def encode_request(argv: list[bytes], out: Output) -> None:
    """Write one request, multibulk, in more pieces than a reply would have: for whoever joins many.
    Raises TypeError for an argument that is not bytes."""
    count = len(argv)
    out.write(COUNT[count] if count < CACHED else b"*%d" % count)
    for arg in argv:
        size = len(arg)
        out.write(NEXT_BULK[size] if size < CACHED else b"\r\n$%d\r\n" % size)
        out.write(arg)
    out.write(CRLF)


def _bulk(value: bytes, out: Output) -> None:
    size = len(value)
    out.write(BULK[size] if size < CACHED else b"$%d\r\n" % size)
    out.write(value)
    out.write(CRLF)


def _aggregate(header: bytes, values: list[object], out: Output, resp3: bool) -> None:
    """A header, which comes without its CRLF, and the elements.

    Uncompiled, a short one becomes a single piece, so that what is done to each piece on its way to
    the socket is done once. A long one stays in pieces: it is not copied.
    """
    if COMPILED:
        _elements(header, values, out, resp3)
    elif not values:
        out.write(header + CRLF)
    elif not (MANY < len(values) <= SHORT and _strings(header, values, out)):
        pieces = Output()
        _elements(header, values, pieces, resp3)
        if len(values) <= SHORT and pieces.size <= SMALL:
            out.write(b"".join(pieces.take()))
        else:
            for piece in pieces.take():
                out.write(piece)


def _elements(header: bytes, values: list[object], out: Output, resp3: bool) -> None:
    out.write(header)
    due = True  # the CRLF of what was written last
    for value in values:
        if type(value) is bytes:
            size = len(value)
            if not due:
                out.write(BULK[size] if size < CACHED else b"$%d\r\n" % size)
            else:
                out.write(NEXT_BULK[size] if size < CACHED else b"\r\n$%d\r\n" % size)
            out.write(value)
            due = True
        else:
            if due:
                out.write(CRLF)
            if type(value) is float and not resp3:
                text = format_double(value)
                out.write(BULK[len(text)])
                out.write(text)
                due = True
            else:
                if resp3:
                    encode3(value, out)
                else:
                    encode2(value, out)
                due = False
    if due:
        out.write(CRLF)


def _strings(header: bytes, values: list[object], out: Output) -> bool:
    """`_elements` where all are short bytes, for many of them, in a few steps that do much each:
    the interpreter's way. Returns False, and has done nothing, if they are not.
    """
    if type(values[0]) is not bytes:
        return False
    strings: list[bytes] = values  # type: ignore[assignment]
    pieces = [CRLF] * (2 * len(strings) + 2)
    pieces[0] = header
    try:
        pieces[1:-1:2] = [NEXT_BULK[len(string)] for string in strings]
        pieces[2:-1:2] = strings
        joined = b"".join(pieces)
    except (TypeError, IndexError):
        return False
    if len(joined) <= SMALL:
        out.write(joined)
    else:
        for piece in pieces:
            out.write(piece)
    return True


def _encode2_other(value: object, out: Output) -> None:
    if isinstance(value, bool):
        out.write(b":1\r\n" if value else b":0\r\n")
    elif isinstance(value, LongDouble):
        encode2(_decimals(value), out)
    elif isinstance(value, float):
        encode2(format_double(value), out)
    elif isinstance(value, PairMap):
        _aggregate(b"*%d" % len(value), list(value.items()), out, False)
    elif isinstance(value, dict):
        _aggregate(b"*%d" % (2 * len(value)), _flat_map(value), out, False)
    elif isinstance(value, Pairs):
        _aggregate(b"*%d" % (2 * len(value)), _flat(value), out, False)
    elif isinstance(value, (list, tuple, set, frozenset)):
        _aggregate(b"*%d" % len(value), list(value), out, False)
    elif value is NIL_ARRAY:
        out.write(b"*-1\r\n")
    elif isinstance(value, CommandError):
        out.write(_line(b"-", str(value).rstrip("\r\n")))
    else:
        encode2(_exact(value), out)


def _encode3_other(value: object, out: Output) -> None:
    if isinstance(value, bool):
        out.write(b"#t\r\n" if value else b"#f\r\n")
    elif isinstance(value, LongDouble):
        out.write(b",%b\r\n" % _decimals(value))
    elif isinstance(value, float):
        out.write(b",%b\r\n" % format_double(value))
    elif isinstance(value, dict):
        _aggregate(b"%%%d" % len(value), _flat_map(value), out, True)
    elif isinstance(value, Push):
        _aggregate(b">%d" % len(value), list(value), out, True)
    elif isinstance(value, (list, tuple)):
        _aggregate(b"*%d" % len(value), list(value), out, True)
    elif isinstance(value, (set, frozenset)):
        _aggregate(b"~%d" % len(value), list(value), out, True)
    elif value is NIL_ARRAY:
        out.write(b"_\r\n")
    elif isinstance(value, Verbatim):
        text = bytes(value)
        out.write(b"=%d\r\n%b:" % (len(text) + 4, value.format.encode()))
        out.write(text)
        out.write(CRLF)
    elif isinstance(value, CommandError):
        out.write(_line(b"-", str(value).rstrip("\r\n")))
    else:
        encode3(_exact(value), out)


def _decimals(value: LongDouble) -> bytes:
    """As addReplyHumanLongDouble writes it."""
    text = b"%.17f" % value
    if b"." not in text:
        return text  # inf, nan
    text = text.rstrip(b"0").rstrip(b".")
    return b"0" if text == b"-0" else text


def _exact(value: object) -> object:
    """The exact bytes, int or str of an instance of a subclass."""
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str.__str__(value)
    raise TypeError(f"{type(value).__name__} is no type of reply")


def _flat_map(items: dict[object, object]) -> list[object]:
    flat: list[object] = [None] * (2 * len(items))
    if not COMPILED:
        flat[::2] = items
        flat[1::2] = items.values()
        return flat
    place: i64 = 0
    for key, value in items.items():
        flat[place] = key
        flat[place + 1] = value
        place += 2
    return flat


def _flat(pairs: list[tuple[object, object]]) -> list[object]:
    flat: list[object] = []
    for first, second in pairs:
        flat.append(first)
        flat.append(second)
    return flat


def _line(mark: bytes, text: str) -> bytes:
    """A status or an error: one line, whatever the text holds."""
    line = text.encode("utf-8", "surrogateescape")
    return b"%b%b\r\n" % (mark, line.replace(b"\r", b" ").replace(b"\n", b" "))


def pack(args: Iterable[bytes | str | int | float]) -> bytes:
    """The bytes of one multibulk request. Text becomes UTF-8, a number its shortest form.

    Raises TypeError for anything else, such as None or a bool: there is no one way to write it.
    """
    request: list[object] = []
    values: Iterable[object] = args
    for arg in values:
        if isinstance(arg, bytes):
            request.append(arg)
        elif isinstance(arg, str):
            request.append(arg.encode("utf-8", "surrogateescape"))
        elif isinstance(arg, bool) or not isinstance(arg, (int, float)):
            raise TypeError(f"an argument is bytes, str, int or float, not {type(arg).__name__}")
        elif isinstance(arg, int):
            request.append(b"%d" % arg)
        else:
            request.append(repr(float(arg)).encode())
    out = Output()
    _aggregate(b"*%d" % len(request), request, out, False)
    return b"".join(out.take())
