"""LCS: the longest common subsequence of two strings.

Hyyrö's bit-parallel algorithm (2004). Row i of the table L(i, j), the length of the LCS of a[:i]
and b[:j], never falls and grows by at most one from j to j+1, so it is kept as one big integer in
which bit j is 0 where it grows; the next row takes an AND, an addition, a subtraction and an OR.
"""

from __future__ import annotations

from typing import Final

from kvcore.command import Context, Family, integer
from kvcore.errors import SYNTAX, CommandError
from kvcore.families.strings.value import text

command = Family("string")

# Redis' table takes 4 bytes a cell and at most proto-max-bulk-len of memory; ours takes a bit.
_CELLS: Final = 512 * 1024 * 1024 // 4

# A common run: (start, end) in the first string, (start, end) in the second; ends included.
Run = tuple[tuple[int, int], tuple[int, int]]


class Table:
    """The rows of L(i, j) of two strings; ``length`` is that of their LCS."""

    a: bytes
    b: bytes
    rows: list[int]
    length: int

    def __init__(self, a: bytes, b: bytes) -> None:
        self.a = a
        self.b = b
        full = (1 << len(b)) - 1
        places = {byte: _places(b, byte) for byte in set(a) & set(b)}
        row = full
        self.rows = [row]
        for byte in a:
            matches = row & places.get(byte, 0)
            row = ((row + matches) | (row - matches)) & full
            self.rows.append(row)
        self.length = len(b) - row.bit_count()

    def runs(self) -> list[Run]:
        """The common runs, last first: the path through the table that Redis takes."""
        a, b = self.a, self.b
        found: list[Run] = []
        i, j = len(a), len(b)
        end = -1  # of the current run, in a; -1 outside
        row = self._unpacked(i)
        while i > 0 and j > 0:
            if a[i - 1] == b[j - 1]:
                if end < 0:
                    end = i - 1
                i -= 1
                j -= 1
                row = self._unpacked(i)
                if i > 0 and j > 0:
                    continue
            if end >= 0:
                size = end - i
                found.append(((i, end), (j, j + size)))
                end = -1
            # Where the two bytes differ, a 0 says that L(i, j-1) < L(i, j) = L(i-1, j).
            elif row[(j - 1) >> 3] >> ((j - 1) & 7) & 1:
                j -= 1
            else:
                i -= 1
                row = self._unpacked(i)
        return found

    def _unpacked(self, i: int) -> bytes:
        return self.rows[i].to_bytes((len(self.b) + 7) // 8, "little")


def _places(text: bytes, byte: int) -> int:
    """A bit for each place where ``text`` has ``byte``."""
    digits = bytes([48 + (other == byte) for other in range(256)])
    return int(text[::-1].translate(digits), 2)


@command("LCS", -3, "readonly", keys=(1, 2, 1), since="7.0.0", complexity="O(N*M)")
def lcs(ctx: Context, argv: list[bytes]) -> object:
    """Finds the longest common substring."""
    a, b = _string(ctx, argv[1]), _string(ctx, argv[2])
    only_length = indexes = with_length = False
    shortest = 0
    i = 3
    while i < len(argv):
        option = argv[i].upper()
        if option == b"LEN":
            only_length = True
        elif option == b"IDX":
            indexes = True
        elif option == b"WITHMATCHLEN":
            with_length = True
        elif option == b"MINMATCHLEN" and i + 1 < len(argv):
            i += 1
            shortest = integer(argv[i])
        else:
            raise CommandError(SYNTAX)
        i += 1
    if indexes and only_length:
        raise CommandError("ERR If you want both the length and indexes, please just use IDX.")
    if (len(a) + 1) * (len(b) + 1) > _CELLS:
        raise CommandError(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
        )
    table = Table(a, b)
    if only_length:
        return table.length
    runs = table.runs()
    if not indexes:
        return b"".join([a[start : end + 1] for (start, end), _ in reversed(runs)])
    matches: list[object] = []
    for first, second in runs:
        size = first[1] - first[0] + 1
        if size >= shortest:
            match: list[object] = [list(first), list(second)]
            matches.append([*match, size] if with_length else match)
    return {b"matches": matches, b"len": table.length}


def _string(ctx: Context, key: bytes) -> bytes:
    value = ctx.db.lookup(key)
    if value is None:
        return b""
    if ctx.keyspace.types.of(value).name != "string":
        raise CommandError("ERR The specified keys must contain string values")
    return text(value)
