"""The sorted set: members (bytes) with scores (doubles, never NaN), ordered by (score, member).

A small one lies as a listpack's entries until it is used more. Then two structures hold the same
entries: a dict, from _FLAT members on a Table, gives the score of a member; a `Tree` gives the
order.

``encoding`` only tells what Redis would answer: listpack until an insertion crosses one of the
limits that the caller passes, then skiplist for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from operator import itemgetter
from random import random as fraction
from typing import Final, cast

from kvcore.codec import listpack
from kvcore.codec.rdb import plain_string, skip_length
from kvcore.datatype import MOST_BYTES, MOST_PACKED, Value, named
from kvcore.families.zsets.tree import Tree, free
from kvcore.table import LARGE, Table

LISTPACK: Final = "listpack"
SKIPLIST: Final = "skiplist"

UNCHANGED: Final = 0  # what ZSet.add returns
ADDED: Final = 1
UPDATED: Final = 2

_FLAT: Final = 512
_INTEGERS: Final = float(1 << 62)

# What stands where these are while the entries are a payload; nobody changes them.
_NO_SCORES: Final[dict[bytes, float]] = {}
_NO_TREE: Final = Tree([], [])


def spell_packed(score: float) -> bytes:
    """A score inside a listpack (Redis: zzlInsertAt, d2string): integers have no exponent there,
    and -0 is one of them."""
    if -_INTEGERS <= score <= _INTEGERS:
        whole = int(score)
        if whole == score:
            return b"%d" % whole
    return b"%.17g" % score


def _dismantle(scores: Table, tree: Tree) -> Iterator[None]:
    yield from scores.dismantle()
    nodes = tree.dismantle()
    while free(nodes):
        yield


class ZSet(Value):
    """Limits are zset-max-listpack-entries and zset-max-listpack-value.

    Ranges of scores take both ends and whether each is exclusive. Ranges of members do too, and
    None for an open end; Redis defines them only for sets in which all scores are equal. What
    returns a range gives the members and, in a list of their own, their scores; the latter is empty
    without ``with_scores``, for each score would be an object made anew.
    """

    __slots__ = ("_entries", "_scores", "_size", "_tree", "encoding")

    encoding: str
    # A listpack's entries, of members and scores in turn, _size of each; None if the other two are
    # used. Whoever looks at this looks once, and first: another thread may read a value that this
    # one decodes (see `_live`).
    _entries: bytes | None
    _size: int
    _scores: dict[bytes, float] | Table
    _tree: Tree

    def __init__(self) -> None:
        super().__init__()
        self.encoding = LISTPACK
        self._entries = b""
        self._size = 0
        self._scores = _NO_SCORES
        self._tree = _NO_TREE

    @staticmethod
    def open(payload: bytes) -> ZSet:
        """The sorted set whose `payload` this is."""
        self = ZSet()
        start = skip_length(payload)
        self._entries = listpack.entries(payload, start)
        self._size = listpack.count(payload, start) // 2
        return self

    def payload(self) -> bytes | None:
        return None if self._entries is None else plain_string(self.as_listpack())

    def as_listpack(self) -> bytes:
        """Members and scores in turn, in order."""
        entries = self._entries
        if entries is not None:
            return listpack.wrap(entries, 2 * self._size)
        items: list[bytes] = []
        for member, score in self.items():
            items.append(member)
            items.append(spell_packed(score))
        return listpack.encode(items)

    @classmethod
    def of(
        cls, items: Iterable[tuple[bytes, float]], max_entries: int = 128, max_value: int = 64
    ) -> ZSet:
        """A sorted set of these (member, score), encoded as they and the limits require.

        Linear if they are in order, up or down. Raises ValueError if a member comes twice.
        """
        self = cls()
        ordered = sorted(items, key=itemgetter(1, 0))
        members = [member for member, _ in ordered]
        if len(members) > max_entries or max(map(len, members), default=0) > max_value:
            self.encoding = SKIPLIST
        else:
            ordered = [(member, score + 0.0) for member, score in ordered]  # -0 becomes 0
        scores = dict(ordered) if len(ordered) <= _FLAT else Table.of(ordered)
        if len(scores) != len(ordered):
            raise ValueError("a member comes twice")
        self._hold(scores, Tree(list(map(itemgetter(1), ordered)), members))
        return self

    @staticmethod
    def of_ordered(members: list[bytes], scores: list[float], max_entries: int = 128) -> ZSet:
        """A sorted set of these members, which are in order, however long they are.

        Raises ValueError if they are not, or one comes twice.
        """
        self = ZSet()
        entries: dict[bytes, float] = {}
        size = len(members)
        if size > max_entries:
            self.encoding = SKIPLIST
        for index in range(size):
            member = members[index]
            score = scores[index]
            if index:
                before = scores[index - 1]
                if score < before or (score == before and member <= members[index - 1]):
                    raise ValueError("its members are out of order")
            if score == 0.0 and size <= max_entries:
                score = scores[index] = 0.0  # not -0: see `add`
            entries[member] = score
        if len(entries) != size:
            raise ValueError("a member comes twice")
        held = entries if size <= _FLAT else Table.of(entries.items())
        self._hold(held, Tree(scores, members))
        return self

    def copy(self) -> ZSet:
        twin = ZSet()
        twin.encoding = self.encoding
        twin._entries = entries = self._entries
        if entries is None:
            twin._scores = self._scores.copy()
            twin._tree = self._tree.copy()
        else:
            twin._size = self._size
        return twin

    def __len__(self) -> int:
        return len(self._scores) if self._entries is None else self._size

    def has(self, member: bytes) -> bool:
        return self.score(member) is not None

    def score(self, member: bytes) -> float | None:
        """The score of a member, or None."""
        entries = self._entries
        if entries is not None:
            if not self.worn():
                at = listpack.find(entries, listpack.entry(member), 2)
                return None if at < 0 else _score(entries, listpack.after(entries, at))
            self._live()
        return cast("float | None", self._scores.get(member))

    def fetch(self, commands: list[list[bytes]]) -> None:
        scores = self._scores
        if isinstance(scores, Table) and scores.count >= LARGE:
            scores.fetch(named(commands, -1))

    def dismantle(self) -> Iterator[None] | None:
        scores = self._scores
        if not isinstance(scores, Table):
            return None
        return _dismantle(scores, self._tree)

    def weight(self) -> int:
        """The bytes of all members; for small sorted sets that are no `payload`."""
        return sum(map(len, self._scores))

    # Changing ------------------------------------------------------------------------------------

    def add(self, member: bytes, score: float, max_entries: int = 128, max_value: int = 64) -> int:
        """Insert a member or give it another score; returns ADDED, UPDATED or UNCHANGED.

        As in Redis, 0 and -0 are the same score, of which the older stays; and a listpack, which
        stores it as an integer, cannot keep the sign.
        """
        new = float(score)
        entries = self._entries
        if entries is not None:
            if (
                self._size < min(max_entries, MOST_PACKED)
                and len(member) <= max_value
                and len(entries) + len(member) <= MOST_BYTES
                and not self.worn()
            ):
                return self._add_entry(entries, member, new)
            self._live()
        scores = self._scores
        old: float | None = scores.get(member)  # type: ignore[assignment]  # of a Table
        if old is not None and old == new:
            return UNCHANGED
        if self.encoding is LISTPACK:
            if old is None and (len(member) > max_value or len(scores) >= max_entries):
                self.encoding = SKIPLIST
            elif new == 0.0:
                new = 0.0
        if isinstance(scores, Table):
            scores.set(member, new)
        else:
            scores[member] = new
            if len(scores) > _FLAT:
                self._scores = Table.of(scores.items())
        if old is None:
            self._tree.put(new, member)
            return ADDED
        self._tree.move(old, new, member)
        return UPDATED

    def remove(self, member: bytes) -> bool:
        """Take a member out; returns True if it was there."""
        entries = self._entries
        if entries is not None:
            if not self.worn():
                at = listpack.find(entries, listpack.entry(member), 2)
                if at < 0:
                    return False
                end = listpack.after(entries, listpack.after(entries, at))
                self._entries = entries[:at] + entries[end:]
                self._size -= 1
                return True
            self._live()
        score = cast("float | None", self._scores.pop(member, None))
        if score is None:
            return False
        self._tree.take(score, member)
        return True

    def delete_by_rank(self, start: int, stop: int) -> list[bytes]:
        """ZREMRANGEBYRANK: returns the removed members, in order."""
        low, high = _bounds(start, stop, len(self))
        return self._cut(low, high)[0]

    def delete_by_score(self, low: float, low_ex: bool, high: float, high_ex: bool) -> list[bytes]:
        """ZREMRANGEBYSCORE: returns the removed members, in order."""
        self._live()
        return self._cut(self._tree.below(low, low_ex), self._tree.below(high, not high_ex))[0]

    def delete_by_lex(
        self, low: bytes | None, low_ex: bool, high: bytes | None, high_ex: bool
    ) -> list[bytes]:
        """ZREMRANGEBYLEX: returns the removed members, in order."""
        start, stop = self._lex_ranks(self._order(), low, low_ex, high, high_ex)
        return self._cut(start, stop)[0]

    def pop_min(self, count: int) -> list[tuple[bytes, float]]:
        """Take out up to ``count`` (member, score), the lowest first."""
        members, scores = self._cut(0, min(count, len(self)))
        return list(zip(members, scores))

    def pop_max(self, count: int) -> list[tuple[bytes, float]]:
        """Take out up to ``count`` (member, score), the highest first."""
        members, scores = self._cut(max(0, len(self) - count), len(self))
        return list(zip(reversed(members), reversed(scores)))

    # Reading in order ----------------------------------------------------------------------------

    def rank(self, member: bytes) -> int | None:
        """How many come before the member; None if it is not there."""
        score = self.score(member)
        return None if score is None else self._order().rank(score, member)

    def reverse_rank(self, member: bytes) -> int | None:
        """How many come after the member; None if it is not there."""
        score = self.score(member)
        return None if score is None else len(self) - 1 - self._order().rank(score, member)

    def by_rank(
        self, start: int, stop: int, reverse: bool = False, with_scores: bool = True
    ) -> tuple[list[bytes], list[float]]:
        """ZRANGE: both ends included, negative ones count from the end; ``reverse`` counts and
        returns from the highest down."""
        low, high = _bounds(start, stop, len(self))
        if reverse:
            low, high = len(self) - high, len(self) - low
        entries = self._entries
        if entries is not None and not self.worn():
            members, scores = _decode(entries)
            members = members[low:high]
            scores = scores[low:high] if with_scores else []
            if reverse:
                members.reverse()
                scores.reverse()
            return members, scores
        return _window(self._order(), low, high, 0, -1, reverse, with_scores)

    def count_by_score(self, low: float, low_ex: bool, high: float, high_ex: bool) -> int:
        """ZCOUNT."""
        order = self._order()
        return max(0, order.below(high, not high_ex) - order.below(low, low_ex))

    def by_score(
        self,
        low: float,
        low_ex: bool,
        high: float,
        high_ex: bool,
        offset: int = 0,
        count: int = -1,
        reverse: bool = False,
        with_scores: bool = True,
    ) -> tuple[list[bytes], list[float]]:
        """ZRANGE BYSCORE: up to ``count`` (negative: all) after skipping ``offset`` (negative:
        none at all, as in Redis)."""
        order = self._order()
        start = order.below(low, low_ex)
        stop = order.below(high, not high_ex)
        return _window(order, start, stop, offset, count, reverse, with_scores)

    def count_by_lex(
        self, low: bytes | None, low_ex: bool, high: bytes | None, high_ex: bool
    ) -> int:
        """ZLEXCOUNT."""
        start, stop = self._lex_ranks(self._order(), low, low_ex, high, high_ex)
        return max(0, stop - start)

    def by_lex(
        self,
        low: bytes | None,
        low_ex: bool,
        high: bytes | None,
        high_ex: bool,
        offset: int = 0,
        count: int = -1,
        reverse: bool = False,
        with_scores: bool = True,
    ) -> tuple[list[bytes], list[float]]:
        """ZRANGE BYLEX; see `by_score`."""
        order = self._order()
        start, stop = self._lex_ranks(order, low, low_ex, high, high_ex)
        return _window(order, start, stop, offset, count, reverse, with_scores)

    def items(self) -> Iterator[tuple[bytes, float]]:
        """Every (member, score) that is there now, in order."""
        entries = self._entries
        if entries is not None and not self.worn():
            members, scores = _decode(entries)
        else:
            members, scores = self._order().slice(0, len(self))
        return zip(members, scores)

    # Reading in no order -------------------------------------------------------------------------

    def scan(self, cursor: int) -> tuple[int, list[tuple[bytes, float]]]:
        """One step of a scan: the next cursor (0 when done) and some (member, score).

        With the guarantee of `Table.scan`; a small set is returned whole.
        """
        scores = self._scores  # of a payload: no members, but those of `items`
        if isinstance(scores, Table):
            following, found = scores.scan_items(cursor)
            return following, cast("list[tuple[bytes, float]]", found)
        return 0, list(self.items())

    def random_member(self) -> bytes:
        """A member chosen uniformly; raises IndexError if there is none."""
        self._live()
        scores = self._scores
        if isinstance(scores, Table):
            return scores.random()
        if not scores:
            raise IndexError("random member of an empty sorted set")
        return next(islice(scores, int(fraction() * len(scores)), None))

    # Ranges -------------------------------------------------------------------------------------

    def _cut(self, start: int, stop: int) -> tuple[list[bytes], list[float]]:
        """Remove the entries of the ranks start <= rank < stop, and return them."""
        self._live()
        members, scores = self._tree.cut(start, stop)
        for member in members:
            self._scores.pop(member)
        return members, scores

    def _lex_ranks(
        self, order: Tree, low: bytes | None, low_ex: bool, high: bytes | None, high_ex: bool
    ) -> tuple[int, int]:
        """The ranks start <= rank < stop of a range of members, all scores being equal."""
        if len(self) == 0:
            return 0, 0
        score = order.lowest()
        start = 0
        if low is not None:
            start = order.until(score, low)
            if not low_ex and self.score(low) == score:
                start -= 1
        stop = len(self)
        if high is not None:
            stop = order.until(score, high)
            if high_ex and self.score(high) == score:
                stop -= 1
        return start, stop

    # The payload ---------------------------------------------------------------------------------

    def _order(self) -> Tree:
        """The order of the entries, to be read only."""
        entries = self._entries
        if entries is not None:
            if not self.worn():
                members, scores = _decode(entries)
                return Tree(scores, members)
            self._live()
        return self._tree

    def _live(self) -> None:
        """Decode the entries, for good."""
        entries = self._entries
        if entries is not None:
            members, scores = _decode(entries)
            self._hold(dict(zip(members, scores)), Tree(scores, members))

    def _hold(self, scores: dict[bytes, float] | Table, tree: Tree) -> None:
        self._scores = scores
        self._tree = tree
        self.made = None
        self._entries = None  # the last: see there

    def _add_entry(self, entries: bytes, member: bytes, new: float) -> int:
        """`add` to the payload."""
        entry = listpack.entry(member)
        at = listpack.find(entries, entry, 2)
        if at >= 0:
            start = at + len(entry)
            if _score(entries, start) == new:
                return UNCHANGED
            entries = entries[:at] + entries[listpack.after(entries, start) :]
        else:
            self._size += 1
        place = _place(entries, new, member)
        entry += listpack.entry(spell_packed(new))
        self._entries = entries[:place] + entry + entries[place:]
        return ADDED if at < 0 else UPDATED

    def check(self) -> None:
        """Verify every invariant; for tests. Raises AssertionError."""
        if self._entries is not None:
            assert self.encoding is LISTPACK
            members, scores_ = _decode(self._entries)
            assert len(members) == len(scores_) == self._size == len(set(members))
            assert list(zip(scores_, members)) == sorted(zip(scores_, members))
            items = listpack.items(self._entries)
            assert items[1::2] == list(map(spell_packed, scores_))
            assert listpack.encode(items) == self.as_listpack()
            return
        scores = self._scores
        if isinstance(scores, Table):
            scores.check()
        else:
            assert len(scores) <= _FLAT
        self._tree.check()
        assert len(self._tree) == len(scores)
        for member, score in self.items():
            assert scores.get(member) == score
        assert self.encoding in (LISTPACK, SKIPLIST)


def _bounds(start: int, stop: int, size: int) -> tuple[int, int]:
    """Redis' range, both ends included and negative ones from the end, as start <= i < stop."""
    if start < 0:
        start = max(0, start + size)
    if stop < 0:
        stop += size
    return start, max(start, min(stop + 1, size))


def _window(
    order: Tree, start: int, stop: int, offset: int, count: int, reverse: bool, with_scores: bool
) -> tuple[list[bytes], list[float]]:
    """LIMIT offset count of the ranks start <= rank < stop."""
    if offset < 0:
        return [], []
    if count < 0:
        count = len(order)
    if reverse:
        stop -= offset
        start = max(start, stop - count)
    else:
        start += offset
        stop = min(stop, start + count)
    members, scores = order.slice(start, stop, with_scores)
    if reverse:
        members.reverse()
        scores.reverse()
    return members, scores


# Entries of a payload -----------------------------------------------------------------------------


def _decode(entries: bytes) -> tuple[list[bytes], list[float]]:
    items = listpack.items(entries)
    return items[::2], list(map(float, items[1::2]))


def _score(entries: bytes, at: int) -> float:
    """The score that lies here."""
    return float(listpack.item(entries, at))


def _place(entries: bytes, score: float, member: bytes) -> int:
    """Where a member with this score belongs."""
    size = len(entries)
    if size == 0:
        return 0
    last = listpack.before(entries, size)
    if _score(entries, last) < score:
        return size
    places: list[int] = []
    at = 0
    while at < size:
        places.append(at)
        at = listpack.after(entries, listpack.after(entries, at))
    low = 0
    high = len(places)
    while low < high:
        middle = (low + high) >> 1
        at = places[middle]
        found = _score(entries, listpack.after(entries, at))
        if found < score or (found == score and listpack.item(entries, at) < member):
            low = middle + 1
        else:
            high = middle
    return places[low] if low < len(places) else size
