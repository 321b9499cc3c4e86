"""The text of an append-only file: commits to bytes, and bytes to commands again.

Theory of operation
===================

A log is a sequence of requests in RESP, ``*2\\r\\n$4\\r\\nINCR\\r\\n$1\\r\\nk\\r\\n``, and of
annotations, ``#TS:1700000000\\r\\n``. SELECT changes the database of what follows. MULTI
and EXEC enclose a commit of several commands; SELECT may stand between them.

**Writing** is `Encoder`: the pieces of a commit, appended to a list that is joined once per write.

**Reading** is `Replayer`, fed with chunks of any size. A chunk is cut at CRLF into lines, which is
one call of C for thousands of commands, and an argument is one line between two others. What does
not look so (an argument that holds CRLF or is longer than `SHORT`, a header out of the ordinary)
goes through `_one`, which takes the same lines one by one. Memory follows what the file holds:
a declared length only says how much to read next, and never more than the file still has.

**The end.** A crash may tear the last write, so a file may stop in the middle of a command or
of a transaction. `Replayer.finish` then says where its whole part ends; what it says is not whole
must be cut off before anything is appended. Everything else is damage and raises `CorruptData`:
a header that is none, a negative length, an argument that does not end in CRLF. A length that was
damaged into a larger one swallows the commands behind it and would look like a torn end; so a torn
argument in which a whole command can be read counts as damage. (A value that holds a whole command
and was torn behind it is refused as well, and somebody has to look: better than to drop what
was acknowledged.)
"""

from __future__ import annotations

from typing import Final

from kvcore.codec.numbers import parse_int
from kvcore.errors import CorruptData
from kvcore.persistence import Batch, Loader
from kvcore.resp import encode2

CRLF: Final = b"\r\n"
CHUNK: Final = 1 << 20
MAX_BULK: Final = 512 * 1024 * 1024
MAX_ARGS: Final = 2**31 - 1

MULTI: Final = b"*1\r\n$5\r\nMULTI\r\n"
EXEC: Final = b"*1\r\n$4\r\nEXEC\r\n"

DAMAGED: Final = "Bad file format reading the append only file"
ADVICE: Final = (
    "The file was left as it is; make a backup of it, then redis-check-aof --fix on the manifest "
    "keeps what lies before this place"
)

# What an argument's header is, by the argument's length, and how many lines a request has, by its
# first one: two look-ups instead of reading digits.
SHORT: Final = 1025
_BULK: Final[list[bytes]] = [b"$%d" % n for n in range(SHORT)]
_LINES: Final[dict[bytes, int]] = {b"*%d" % n: 2 * n + 1 for n in range(1, SHORT)}

_ZERO: Final = 48

# What a command means to the replay itself.
_PLAIN: Final = 0
_SELECT: Final = 1
_MULTI: Final = 2
_EXEC: Final = 3
_KINDS: Final = {b"SELECT": _SELECT, b"MULTI": _MULTI, b"EXEC": _EXEC}


class Encoder:
    """Turns commits into the text of the log.

    ``db``          the database that the log has selected; -1 before the first SELECT
    ``timestamps``  annotate the second in which commits were made (aof-timestamp-enabled)
    """

    db: int
    timestamps: bool
    _second: int

    def __init__(self) -> None:
        self.db = -1
        self.timestamps = False
        self._second = 0

    def reset(self) -> None:
        """What comes next is read without what came before."""
        self.db = -1
        self._second = 0

    def add(self, batch: Batch, out: list[bytes], second: int) -> None:
        """Append the pieces of one commit made in that Unix second: all of them, or none."""
        mark = len(out)
        db = self.db
        try:
            if self.timestamps and second != self._second:
                out.append(b"#TS:%d\r\n" % second)
                self._second = second
            commands = batch.commands
            if len(commands) == 1:
                self._add(commands[0], out)
            elif commands:
                out.append(MULTI)
                for command in commands:
                    self._add(command, out)
                out.append(EXEC)
        except BaseException:
            del out[mark:]
            self.db = db
            raise

    def _add(self, command: tuple[int, list[bytes]], out: list[bytes]) -> None:
        db, argv = command
        if db != self.db:
            encode2([b"SELECT", b"%d" % db], out)
            self.db = db
        encode2(argv, out)


class Replayer:
    """Executes the text of one file through ``loader.replay``; see the module.

    ``want``      how many bytes the next `feed` should bring, if the file has them
    ``commands``  how many were executed
    """

    want: int
    commands: int
    _loader: Loader
    _path: str
    _db: int
    _kinds: dict[bytes, int]
    _queue: list[tuple[int, list[bytes]]] | None
    _multi_at: int
    _rest: bytes
    _need: int
    _argv: list[bytes]
    _mark: int
    _mark_at: int

    def __init__(self, loader: Loader, path: str = "", offset: int = 0) -> None:
        """``offset``: where in the file the text begins."""
        self.want = CHUNK
        self.commands = 0
        self._loader = loader
        self._path = path
        self._db = 0
        self._kinds = {}
        self._queue = None  # commands since MULTI
        self._multi_at = 0
        self._rest = b""  # the incomplete command at the end of the last chunk
        self._need = 0  # how many bytes it lacks at least
        self._argv = []  # what `_one` found
        self._mark = 0  # a line of the chunk, and where in the file it begins
        self._mark_at = offset

    def feed(self, data: bytes) -> None:
        """Take the next chunk, execute what it completes. Raises CorruptData."""
        if self._rest:
            data = self._rest + data
        lines = data.split(CRLF)
        start = self._mark_at
        line = self._run(lines, len(lines) - 1)
        self._rest = CRLF.join(lines[line:])
        self._mark = 0
        self._mark_at = start + len(data) - len(self._rest)
        # What is incomplete is read again with the next chunk; at least doubling what there is
        # keeps that linear, however long a command is.
        self.want = max(CHUNK, len(self._rest), self._need)

    def finish(self) -> tuple[int, str]:
        """The end of the file: (where its whole part ends, why that is not all; "" if it is).

        Raises CorruptData if what is left over is no torn end.
        """
        rest = self._rest
        if rest and CRLF not in rest and rest[:1] != b"#" and not _may_become(rest, b"*"):
            raise self._damage(self._mark_at, f"'*' is due, {rest[:32]!r} was found")
        if _holds_command(rest):
            raise self._damage(
                self._mark_at,
                "the file is too short for this command by its lengths, yet commands follow it",
            )
        if self._queue is not None:
            return self._multi_at, "an unfinished transaction"
        return self._mark_at, "an unfinished command" if rest else ""

    # Lines to commands ------------------------------------------------------------------------

    def _run(self, lines: list[bytes], last: int) -> int:
        """Execute the commands in ``lines[:last]``; returns the first line that was not used."""
        replay = self._loader.replay
        kinds = self._kinds
        self._need = 0
        line = 0
        while line < last:
            stop = line + _LINES.get(lines[line], last + 1)
            if stop <= last:
                argv = lines[line + 2 : stop : 2]
                header = line + 1
                for arg in argv:
                    if len(arg) >= SHORT or lines[header] != _BULK[len(arg)]:
                        stop = self._one(lines, line, last)
                        argv = self._argv
                        break
                    header += 2
            else:
                stop = self._one(lines, line, last)
                argv = self._argv
            if stop < 0:
                break
            try:
                if not argv:
                    pass
                elif kinds.get(argv[0], -1) == _PLAIN and self._queue is None:
                    replay(self._db, argv)
                    self.commands += 1
                else:
                    self._special(argv, lines, line)
            except CorruptData as error:
                if not error.path:  # the loader's refusal: it does not know where we are
                    error.path = self._path
                    error.offset = self._locate(lines, line)
                    error.advice = error.advice or ADVICE
                raise
            line = stop
        return line

    def _special(self, argv: list[bytes], lines: list[bytes], line: int) -> None:
        """SELECT, MULTI, EXEC, what stands between the two, and names not met before."""
        name = argv[0]
        kind = self._kinds.get(name, -1)
        if kind < 0:
            kind = self._kinds[name] = _KINDS.get(name.upper(), _PLAIN)
        if kind == _SELECT:
            number = parse_int(argv[1]) if len(argv) == 2 else None
            if number is None or number < 0:
                raise CorruptData(f"{DAMAGED}: SELECT without the number of a database")
            self._db = number
        elif kind == _MULTI:
            if self._queue is not None:
                raise CorruptData(f"{DAMAGED}: MULTI inside MULTI")
            self._queue = []
            self._multi_at = self._locate(lines, line)
        elif kind == _EXEC:
            self._exec()
        elif self._queue is not None:
            self._queue.append((self._db, argv))
        else:
            self._loader.replay(self._db, argv)
            self.commands += 1

    def _exec(self) -> None:
        queue = self._queue
        if queue is None:
            raise CorruptData(f"{DAMAGED}: EXEC without MULTI")
        self._queue = None
        for db, argv in queue:
            self._loader.replay(db, argv)
        self.commands += len(queue)

    def _one(self, lines: list[bytes], line: int, last: int) -> int:
        """Put the command at ``line`` into ``_argv``; returns the line after it.

        An annotation gives no ``_argv``. What is incomplete gives -1.
        """
        argv: list[bytes] = []
        self._argv = argv
        if lines[line][:1] == b"#":
            return line + 1
        count = _number(lines[line], b"*")
        if not 0 < count <= MAX_ARGS:
            raise self._unexpected(lines, line, "'*' and a number of arguments")
        line += 1
        while len(argv) < count:
            if line == last:
                if not _may_become(lines[line], b"$"):
                    raise self._unexpected(lines, line, "'$' and a length")
                return -1
            size = _number(lines[line], b"$")
            if not 0 <= size <= MAX_BULK:
                raise self._unexpected(lines, line, "'$' and a length")
            line += 1
            first = line
            have = len(lines[line])
            while have < size and line < last:
                line += 1
                have += 2 + len(lines[line])
            if line == last and (have <= size or (have == size + 1 and lines[line][-1:] == b"\r")):
                self._need = size + 2 - have
                return -1
            if have != size:
                raise self._damage(
                    self._locate(lines, first), f"an argument of {size} bytes ends elsewhere"
                )
            argv.append(lines[line] if first == line else CRLF.join(lines[first : line + 1]))
            line += 1
        return line

    # Places and errors ------------------------------------------------------------------------

    def _locate(self, lines: list[bytes], line: int) -> int:
        """Where in the file a line begins. Each call goes on from the one before."""
        mark = self._mark
        self._mark_at += sum(map(len, lines[mark:line])) + 2 * (line - mark)
        self._mark = line
        return self._mark_at

    def _unexpected(self, lines: list[bytes], line: int, due: str) -> CorruptData:
        why = f"{due} are due, {lines[line][:32]!r} was found"
        return self._damage(self._locate(lines, line), why)

    def _damage(self, offset: int, why: str) -> CorruptData:
        return CorruptData(f"{DAMAGED}: {why}", path=self._path, offset=offset, advice=ADVICE)


def _number(line: bytes, mark: bytes) -> int:
    """The number of a header line, as strictly as Redis writes it; -1 if it is none."""
    digits = line[1:]
    if line[:1] != mark or not digits.isdigit() or len(digits) > 10:
        return -1
    if digits[0] == _ZERO and len(digits) > 1:
        return -1
    return int(digits)


def _may_become(line: bytes, mark: bytes) -> bool:
    """Whether it is the start of a header line that a crash may have torn."""
    digits = line[1:].removesuffix(b"\r")
    return line[:1] in (b"", mark) and len(digits) <= 10 and (not digits or digits.isdigit())


def _holds_command(rest: bytes) -> bool:
    """Whether a whole command begins at one of the lines of a torn one."""
    at = rest.find(b"\r\n*")
    while at >= 0:
        if _is_command(rest, at + 2):
            return True
        at = rest.find(b"\r\n*", at + 2)
    return False


def _is_command(data: bytes, at: int) -> bool:
    """Whether the request at ``at`` is whole, and its name a word."""
    count = 1
    done = -1  # the header with the count comes first
    while done < count:
        end = data.find(CRLF, at, at + 14)
        if end < 0:
            return False
        number = _number(data[at:end], b"$" if done >= 0 else b"*")
        if number < 0:
            return False
        at = end + 2
        if done < 0:
            count = number
        else:
            end = at + number
            if data[end : end + 2] != CRLF or (done == 0 and not data[at:end].isalpha()):
                return False
            at = end + 2
        done += 1
    return count > 0
