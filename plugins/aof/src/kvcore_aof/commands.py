"""The text of an append-only file, and how it becomes commands again.

Theory of operation
===================

A log is a sequence of requests in RESP, ``*2\\r\\n$4\\r\\nINCR\\r\\n$1\\r\\nk\\r\\n``, and of
annotations, ``#TS:1700000000\\r\\n``. SELECT changes the database of what follows. MULTI
and EXEC enclose a commit of several commands; SELECT may stand between them.

**Writing** is `kvcore.commits.Encoder`: the pieces of commits, in a list that is joined once per
write.

**Reading** is `Replayer`, fed with chunks of any size. Most of a chunk goes to the loader as it is,
which executes what it can (`Loader.replay_requests`). What it leaves (SELECT, MULTI and what
follows, annotations, the unfinished command at the end, damage) is looked at here, one by one.
Memory follows what the file holds: a declared length only says how much to read next, and never
more than the file still has.

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
from kvcore.codec.requests import read_request
from kvcore.errors import CorruptData
from kvcore.persistence import Loader

CRLF: Final = b"\r\n"
CHUNK: Final = 1 << 20
MAX_BULK: Final = 512 * 1024 * 1024
MAX_ARGS: Final = 2**31 - 1

DAMAGED: Final = "Bad file format reading the append only file"
ADVICE: Final = (
    "The file was left as it is; make a backup of it, then redis-check-aof --fix on the manifest "
    "keeps what lies before this place"
)

_ZERO: Final = 48

# What a command means to the replay itself.
_PLAIN: Final = 0
_SELECT: Final = 1
_MULTI: Final = 2
_EXEC: Final = 3
_KINDS: Final = {b"SELECT": _SELECT, b"MULTI": _MULTI, b"EXEC": _EXEC}


class Replayer:
    """Executes the text of one file through a loader; see the module.

    ``want``  how many bytes the next `feed` should bring, if the file has them
    """

    want: int
    _loader: Loader
    _path: str
    _db: int
    _kinds: dict[bytes, int]
    _queue: list[tuple[int, list[bytes]]] | None
    _multi_at: int
    _rest: bytes
    _need: int
    _begin: int

    def __init__(self, loader: Loader, path: str = "", offset: int = 0) -> None:
        """``offset``: where in the file the text begins."""
        self.want = CHUNK
        self._loader = loader
        self._path = path
        self._db = 0
        self._kinds = {}
        self._queue = None  # commands since MULTI
        self._multi_at = 0
        self._rest = b""  # the incomplete command at the end of the last chunk
        self._need = 0  # how many bytes it lacks at least
        self._begin = offset  # where in the file the chunk begins, between chunks the rest

    def feed(self, data: bytes) -> None:
        """Take the next chunk, execute what it completes. Raises CorruptData."""
        if self._rest:
            data = self._rest + data
        end = self._run(data)
        self._rest = data[end:]
        self._begin += end
        # What is incomplete is read again with the next chunk; at least doubling what there is
        # keeps that linear, however long a command is.
        self.want = max(CHUNK, len(self._rest), self._need)

    def finish(self) -> tuple[int, str]:
        """The end of the file: (where its whole part ends, why that is not all; "" if it is).

        Raises CorruptData if what is left over is no torn end.
        """
        rest = self._rest
        if rest and CRLF not in rest and rest[:1] != b"#" and not _may_become(rest, b"*"):
            raise self._damage(0, f"'*' is due, {rest[:32]!r} was found")
        if _holds_command(rest):
            raise self._damage(
                0, "the file is too short for this command by its lengths, yet commands follow it"
            )
        if self._queue is not None:
            return self._multi_at, "an unfinished transaction"
        return self._begin, "an unfinished command" if rest else ""

    # Bytes to commands ------------------------------------------------------------------------

    def _run(self, data: bytes) -> int:
        """Execute the commands in ``data``; returns where the first begins that is not whole."""
        self._need = 0
        at = 0
        while True:
            if self._queue is None:
                at = self._run_plain(data, at)
            argv: list[bytes] = []
            end = read_request(data, at, argv)
            if end < 0:
                argv.clear()
                end = self._one(data, at, argv)
            if end < 0:
                return at
            if argv:
                try:
                    self._execute(argv, at)
                except CorruptData as error:
                    raise self._told_where(error, at) from None
            at = end

    def _run_plain(self, data: bytes, at: int) -> int:
        """Give the loader what it can execute by itself; returns what follows that."""
        try:
            return self._loader.replay_requests(self._db, data, at)
        except CorruptData as error:
            raise self._told_where(error, error.offset) from None

    def _execute(self, argv: list[bytes], at: int) -> None:
        """SELECT, MULTI, EXEC, what stands between the two, and what the loader has left."""
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
            self._multi_at = self._begin + at
        elif kind == _EXEC:
            self._exec()
        elif self._queue is not None:
            self._queue.append((self._db, argv))
        else:
            self._loader.replay(self._db, argv)

    def _exec(self) -> None:
        queue = self._queue
        if queue is None:
            raise CorruptData(f"{DAMAGED}: EXEC without MULTI")
        self._queue = None
        for db, argv in queue:
            self._loader.replay(db, argv)

    def _one(self, data: bytes, at: int, argv: list[bytes]) -> int:
        """As `read_request` of what that does not take, which is damaged, incomplete (-1), or an
        annotation (no arguments)."""
        end = data.find(CRLF, at)
        if end < 0:
            return -1
        if data.startswith(b"#", at):
            return end + 2
        count = _number(data[at:end], b"*")
        if not 0 < count <= MAX_ARGS:
            raise self._unexpected(data, at, "'*' and a number of arguments")
        while len(argv) < count:
            at = end + 2
            end = data.find(CRLF, at)
            if end < 0:
                if not _may_become(data[at:], b"$"):
                    raise self._unexpected(data, at, "'$' and a length")
                return -1
            size = _number(data[at:end], b"$")
            if not 0 <= size <= MAX_BULK:
                raise self._unexpected(data, at, "'$' and a length")
            at = end + 2
            end = at + size
            if not CRLF.startswith(data[end : end + 2]):
                raise self._damage(at, f"an argument of {size} bytes ends elsewhere")
            if end + 2 > len(data):
                self._need = end + 2 - len(data)
                return -1
            argv.append(data[at:end])
        return end + 2

    # Errors -----------------------------------------------------------------------------------

    def _told_where(self, error: CorruptData, at: int) -> CorruptData:
        """The loader's refusal: it does not know where in which file we are."""
        if not error.path:
            error.path = self._path
            error.offset = self._begin + at
            error.advice = error.advice or ADVICE
        return error

    def _unexpected(self, data: bytes, at: int, due: str) -> CorruptData:
        line = data[at:].partition(CRLF)[0]
        return self._damage(at, f"{due} are due, {line[:32]!r} was found")

    def _damage(self, at: int, why: str) -> CorruptData:
        return CorruptData(
            f"{DAMAGED}: {why}", path=self._path, offset=self._begin + at, advice=ADVICE
        )


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
