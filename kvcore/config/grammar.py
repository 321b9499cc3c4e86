"""The grammar of redis.conf, and of everything else that is cut like it.

A text is lines; a line is words; the first word names a directive. A word may be quoted:

- ``"…"`` with the escapes ``\\n \\r \\t \\b \\a``, ``\\xHH``, and ``\\`` before any other byte;
- ``'…'``, where only ``\\'`` is special.

After a closing quote has to come white space or the end. Lines that begin with ``#`` are comments;
there are none at the end of a line. (Redis: sdssplitargs and sdscatrepr in sds.c.)
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from kvcore.errors import ConfigError

COMMAND_LINE: Final = "<command line>"
STDIN: Final = "<stdin>"

_SPACE: Final = b" \t\n\r\x0b\x0c"  # C's isspace
_END_OF_WORD: Final = b" \t\n\r\0"
_BLANK: Final = b" \t\r\n"
_HEX: Final = b"0123456789abcdefABCDEF"
_ESCAPES: Final = {110: 10, 114: 13, 116: 9, 98: 8, 97: 7}  # n r t b a
_NUL: Final = 0
_VTAB: Final = 11
_FORM_FEED: Final = 12
_DOUBLE: Final = 34
_SINGLE: Final = 39
_BACKSLASH: Final = 92
_X: Final = 120


@attrs.frozen
class Line:
    """One directive as it was written: its words, and where it stands (`number` from 1)."""

    words: list[bytes]
    path: str
    number: int
    text: bytes

    @property
    def name(self) -> str:
        return decode(self.words[0].lower())

    def error(self, why: str) -> ConfigError:
        return ConfigError(why, path=self.path, line=self.number, text=decode(self.text))


def decode(data: bytes) -> str:
    """Bytes of a configuration as text; `encode` brings back exactly the same bytes."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def split_args(line: bytes) -> list[bytes] | None:
    """The words of `line`, unquoted; None if a quote is not closed or not followed by a space.

    A NUL ends the line, as it ends C's strings. Also used for inline commands.
    """
    # A number sought in bytes is a memchr; bytes sought in bytes cost ten times that.
    if not (
        _DOUBLE in line or _SINGLE in line or _NUL in line or _VTAB in line or _FORM_FEED in line
    ):
        return line.split()
    words: list[bytes] = []
    at = 0
    size = len(line)
    while True:
        while at < size and line[at] in _SPACE:
            at += 1
        if at == size or line[at] == 0:
            return words
        word = bytearray()
        at = _read_word(line, at, word)
        if at < 0:
            return None
        words.append(bytes(word))


def _read_word(line: bytes, at: int, word: bytearray) -> int:
    """Append to `word` what begins at `at`; returns where it ended, or -1 for a stray quote."""
    size = len(line)
    while at < size and line[at] not in _END_OF_WORD:
        byte = line[at]
        at += 1
        if byte != _DOUBLE and byte != _SINGLE:
            word.append(byte)
            continue
        at = _read_double(line, at, word) if byte == _DOUBLE else _read_single(line, at, word)
        if at < 0 or (at < size and line[at] != 0 and line[at] not in _SPACE):
            return -1
        return at
    return at


def _read_double(line: bytes, at: int, word: bytearray) -> int:
    """As `_read_word`, from behind an opening ``"`` to behind the closing one."""
    size = len(line)
    while at < size and line[at] != 0:
        byte = line[at]
        at += 1
        if byte == _DOUBLE:
            return at
        if byte != _BACKSLASH or at == size or line[at] == 0:
            word.append(byte)
            continue
        byte = line[at]
        if byte == _X and at + 2 < size and line[at + 1] in _HEX and line[at + 2] in _HEX:
            word.append(int(line[at + 1 : at + 3], 16))
            at += 3
        else:
            word.append(_ESCAPES.get(byte, byte))
            at += 1
    return -1


def _read_single(line: bytes, at: int, word: bytearray) -> int:
    """As `_read_double`, with ``'``."""
    size = len(line)
    while at < size and line[at] != 0:
        byte = line[at]
        at += 1
        if byte == _SINGLE:
            return at
        if byte == _BACKSLASH and at < size and line[at] == _SINGLE:
            byte = _SINGLE
            at += 1
        word.append(byte)
    return -1


def quote(arg: bytes) -> bytes:
    """`arg` in double quotes, printable ASCII only; `split_args` gives it back."""
    return b'"%b"' % b"".join([_QUOTED[byte] for byte in arg])


def quote_if_needed(arg: bytes) -> bytes:
    """`arg` as a word of a line: as it is where that is safe, else quoted."""
    return arg if split_args(arg) == [arg] else quote(arg)


def _quoted(byte: int) -> bytes:
    named = {7: b"\\a", 8: b"\\b", 9: b"\\t", 10: b"\\n", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}
    if byte in named:
        return named[byte]
    return bytes([byte]) if 32 <= byte < 127 else b"\\x%02x" % byte


_QUOTED: Final = [_quoted(byte) for byte in range(256)]


def parse_line(raw: bytes, path: str, number: int) -> Line | None:
    """The directive in `raw`; None if it is a comment or empty. Raises ConfigError."""
    text = raw.strip(_BLANK)
    if not text or text.startswith(b"#"):
        return None
    words = split_args(text)
    if words is None:
        raise Line([], path, number, text).error("Unbalanced quotes in configuration line")
    return Line(words, path, number, text) if words else None


def parse_lines(text: bytes, path: str) -> Iterator[Line]:
    """The directives of `text`, one by one. Raises ConfigError when it comes to a bad line."""
    for number, raw in enumerate(text.split(b"\n"), 1):
        line = parse_line(raw, path, number)
        if line is not None:
            yield line


def read_file(path: str) -> bytes:
    """The content of a configuration file. Raises ConfigError, worded as Redis."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ConfigError(f"can't open config file '{path}': {error.strerror}") from None


def included_files(pattern: str, base: str) -> list[str]:
    """The files that ``include pattern`` names, sorted; a relative one is looked up in `base`.

    A pattern (one that holds ``*``, ``?`` or ``[``) may match nothing. A plain name is returned
    whether it exists or not.
    """
    if any(character in pattern for character in "*?["):
        return sorted(glob.glob(os.path.join(glob.escape(base), pattern)))
    return [os.path.join(base, pattern)]


@attrs.frozen
class Arguments:
    """What a command line says: the file, whether to read stdin after it, and lines of text."""

    file: str | None
    stdin: bool
    text: bytes


def parse_argv(argv: Sequence[str | bytes]) -> Arguments:
    """Take a command line apart as redis-server does; `argv` is without the program's name.

    ``[file] [-] [--directive word…]…``: every option becomes a line, what follows it becomes
    quoted words, so ``--port 7000`` is the line ``port "7000"``. The word right after a bare
    option is always its value, even if it begins with ``--``; only ``--save --x`` and a last
    ``--save`` mean ``save ""``.
    """
    args = [os.fsencode(arg) for arg in argv]
    file: str | None = None
    stdin = False
    lines: list[bytes] = []
    value_expected = False
    first = 0
    if args and not args[0].startswith(b"-"):
        file = os.fsdecode(args[0])
        first = 1
    for at in range(first, len(args)):
        arg = args[at]
        if arg == b"-" and at in (0, len(args) - 1):
            stdin = True
        elif arg.startswith(b"--") and not value_expected:
            following = args[at + 1] if at + 1 < len(args) else b"--"
            empty_save = arg.lower() == b"--save" and following.startswith(b"--")
            lines.append(b'save ""' if empty_save else arg[2:])
            value_expected = not empty_save and len(split_args(arg) or []) == 1
        else:
            value_expected = False
            lines[-1:] = [(lines[-1] + b" " if lines else b"") + quote(arg)]
    return Arguments(file, stdin, b"\n".join(lines))
