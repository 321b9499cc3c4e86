"""The sorted set: members (bytes) with scores (doubles, never NaN), ordered by (score, member).

Two structures hold the same entries. A dict, from _FLAT members on a Table, gives the score of a
member. A counted B+ tree gives the order: its leaves hold runs of entries, its inner nodes know
how many entries each child holds. All ranges, by rank, score or member, become ranges of ranks,
so that every operation is O(log n) plus what it returns. Up to _MAX members the tree is one leaf.

A copy is lazy, as that of the Table: two sets share their nodes, and whoever changes one copies it
and those above it. A node that is marked ``shared`` may be in another tree as well, and so may be
all below it; the mark moves down as nodes are copied.

``encoding`` only tells what Redis would answer: listpack until an insertion crosses one of the
limits that the caller passes, then skiplist for good.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from operator import itemgetter
from random import random as fraction
from typing import Any, Final, cast

from kvcore.datatype import Value
from kvcore.table import Table

LISTPACK: Final = "listpack"
SKIPLIST: Final = "skiplist"

UNCHANGED: Final = 0  # what ZSet.add returns
ADDED: Final = 1
UPDATED: Final = 2

_FLAT: Final = 512
_MAX: Final = 64  # entries or children of a node; ranks are counted through them one by one
_MIN: Final = 16  # except of the root
_BUILT: Final = 48  # of a node built at once: room to grow
_NO_COUNTS: Final[list[int]] = []  # of every leaf

# A float object. Compiled code unboxes what is declared float, and would make a new object for
# each place that it is stored in; so one object serves the dict and the tree.
_Score = Any


class _Node:
    """A leaf (``children`` is None): its entries, in order, in two parallel lists.

    An inner node: for each child a bound (score, member) that is not above the child's first entry
    and above the last entry before it, and in ``counts`` the child's number of entries.
    """

    __slots__ = ("children", "counts", "members", "scores", "shared")

    scores: list[_Score]
    members: list[bytes]
    children: list[_Node] | None
    counts: list[int]
    shared: bool

    def __init__(
        self,
        scores: list[_Score],
        members: list[bytes],
        children: list[_Node] | None,
        counts: list[int],
    ) -> None:
        self.scores = scores
        self.members = members
        self.children = children
        self.counts = counts
        self.shared = False

    def copy(self) -> _Node:
        """A copy of a shared node, to be changed in its place."""
        children = self.children
        if children is None:
            return _Node(self.scores.copy(), self.members.copy(), None, self.counts)
        for child in children:
            child.shared = True
        return _Node(self.scores.copy(), self.members.copy(), children.copy(), self.counts.copy())

    def own(self, index: int) -> _Node:
        """Child ``index``, to be changed. This node is in one tree only."""
        assert self.children is not None
        child = self.children[index]
        if child.shared:
            child = child.copy()
            self.children[index] = child
        return child

    def total(self) -> int:
        """The number of entries in and below this node."""
        return len(self.scores) if self.children is None else sum(self.counts)

    def place(self, score: _Score, member: bytes) -> int:
        """How many of this node's own entries or bounds are not above (score, member)."""
        scores = self.scores
        end = bisect_right(scores, score)
        if end == 0 or scores[end - 1] != score or self.members[end - 1] <= member:
            return end
        return bisect_right(self.members, member, bisect_left(scores, score, 0, end), end)

    def split(self, index: int, at: int) -> None:
        """Move what child ``index`` has from ``at`` on to a new child after it."""
        assert self.children is not None
        left = self.own(index)
        right = _Node(left.scores[at:], left.members[at:], None, left.counts)
        left.scores = left.scores[:at]  # not `del`, which would keep the room
        left.members = left.members[:at]
        if left.children is not None:
            right.children = left.children[at:]
            right.counts = left.counts[at:]
            left.children = left.children[:at]
            left.counts = left.counts[:at]
        moved = right.total()
        self.counts[index] -= moved
        self.counts.insert(index + 1, moved)
        self.scores.insert(index + 1, right.scores[0])
        self.members.insert(index + 1, right.members[0])
        self.children.insert(index + 1, right)

    def mend(self, index: int) -> None:
        """Join child ``index``, which is short, with a sibling; halve them if that is too long."""
        assert self.children is not None
        if index == 0:
            index = 1
        left = self.own(index - 1)
        right = self.own(index)
        self.children.pop(index)
        left.scores += right.scores
        left.members += right.members
        if left.children is not None and right.children is not None:
            left.children += right.children
            left.counts += right.counts
        self.counts[index - 1] += self.counts.pop(index)
        del self.scores[index]
        del self.members[index]
        if len(left.scores) > _MAX:
            self.split(index - 1, len(left.scores) // 2)

    def slice(self, start: int, stop: int, members: list[bytes], scores: list[_Score]) -> None:
        """Append the entries of the ranks start <= rank < stop to the two lists."""
        children = self.children
        if children is None:
            members += self.members[start:stop]
            scores += self.scores[start:stop]
            return
        index = 0
        counts = self.counts
        while start >= counts[index]:
            start -= counts[index]
            stop -= counts[index]
            index += 1
        while stop > 0:
            children[index].slice(start, stop, members, scores)
            start = 0
            stop -= counts[index]
            index += 1
            if index == len(counts):
                break

    def cut(self, start: int, stop: int, members: list[bytes], scores: list[_Score]) -> int:
        """Move entries from rank ``start`` on, up to ``stop``, to the two lists.

        Stops at the end of a leaf, so that each node on the way loses one child at most; returns
        how many it has moved, at least one.
        """
        children = self.children
        if children is None:
            moved = self.members[start:stop]
            members += moved
            scores += self.scores[start:stop]
            del self.members[start:stop]
            del self.scores[start:stop]
            return len(moved)
        index = 0
        counts = self.counts
        while start >= counts[index]:
            start -= counts[index]
            stop -= counts[index]
            index += 1
        taken = self.own(index).cut(start, stop, members, scores)
        counts[index] -= taken
        if len(children[index].scores) < _MIN:
            self.mend(index)
        return taken

    def check(self, is_root: bool) -> int:
        """Verify this node and all below; returns the height (a leaf's is 0)."""
        size = len(self.scores)
        assert len(self.members) == size <= _MAX
        keys = list(zip(self.scores, self.members))
        assert all(a < b for a, b in pairwise(keys))
        children = self.children
        if children is None:
            assert is_root or size >= _MIN
            assert not self.counts
            return 0
        assert size >= (2 if is_root else _MIN)
        assert len(children) == len(self.counts) == size
        heights = set()
        for index, child in enumerate(children):
            heights.add(child.check(False))
            assert child.total() == self.counts[index]
            assert keys[index] <= (child.scores[0], child.members[0])
            if index + 1 < size:
                assert (child.scores[-1], child.members[-1]) < keys[index + 1]
        assert len(heights) == 1
        return int(heights.pop()) + 1


def _dismantle(scores: Table, nodes: list[_Node]) -> Iterator[None]:
    """``nodes``: the root. None is changed, for a copy may have it as well."""
    yield from scores.dismantle()
    while nodes:
        children = nodes.pop().children
        if children is not None:
            nodes += children
        yield


def _leaf() -> _Node:
    return _Node([], [], None, _NO_COUNTS)


def _build(scores: list[_Score], members: list[bytes]) -> _Node:
    """The root of a tree of these entries, which are in order."""
    nodes = []
    for start, stop in _parts(len(scores)):
        nodes.append(_Node(scores[start:stop], members[start:stop], None, _NO_COUNTS))
    while len(nodes) > 1:
        parents = []
        for start, stop in _parts(len(nodes)):
            group = nodes[start:stop]
            parents.append(
                _Node(
                    [node.scores[0] for node in group],
                    [node.members[0] for node in group],
                    group,
                    [node.total() for node in group],
                )
            )
        nodes = parents
    return nodes[0]


def _parts(size: int) -> list[tuple[int, int]]:
    """Bounds that cut ``size`` things into parts for nodes, all about equal."""
    if size <= _MAX:
        return [(0, size)]
    parts = -(-size // _BUILT)
    return [(size * i // parts, size * (i + 1) // parts) for i in range(parts)]


class ZSet(Value):
    """Limits are zset-max-listpack-entries and zset-max-listpack-value.

    Ranges of scores take both ends and whether each is exclusive. Ranges of members do too, and
    None for an open end; Redis defines them only for sets in which all scores are equal.
    """

    __slots__ = ("_root", "_scores", "encoding")

    encoding: str
    _scores: dict[bytes, float] | Table
    _root: _Node

    def __init__(self) -> None:
        self.hot = True
        self.encoding = LISTPACK
        self._scores = {}
        self._root = _leaf()

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
        self._scores = dict(ordered) if len(ordered) <= _FLAT else Table.of(ordered)
        if len(self._scores) != len(ordered):
            raise ValueError("a member comes twice")
        self._root = _build(list(map(itemgetter(1), ordered)), members)
        return self

    @staticmethod
    def of_ordered(members: list[bytes], scores: list[Any], max_entries: int = 128) -> ZSet:
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
            score: _Score = scores[index]
            if index:
                before: _Score = scores[index - 1]
                if score < before or (score == before and member <= members[index - 1]):
                    raise ValueError("its members are out of order")
            if score == 0.0 and size <= max_entries:
                score = scores[index] = 0.0  # not -0: see `add`
            entries[member] = score
        if len(entries) != size:
            raise ValueError("a member comes twice")
        self._scores = entries if size <= _FLAT else Table.of(entries.items())
        self._root = _build(scores, members)
        return self

    def copy(self) -> ZSet:
        twin = ZSet()
        twin.encoding = self.encoding
        twin._scores = self._scores.copy()
        twin._root = self._root
        self._root.shared = True
        return twin

    def __len__(self) -> int:
        return len(self._scores)

    def has(self, member: bytes) -> bool:
        return member in self._scores

    def score(self, member: bytes) -> float | None:
        """The score of a member, or None."""
        score: _Score = self._scores.get(member)
        found: float | None = score
        return found

    def dismantle(self) -> Iterator[None] | None:
        scores = self._scores
        if not isinstance(scores, Table):
            return None
        nodes = [self._root]
        self._root = _leaf()
        return _dismantle(scores, nodes)

    def weight(self) -> int:
        """The bytes of all members; for small sorted sets."""
        return sum(map(len, self._scores))

    # Changing ------------------------------------------------------------------------------------

    def add(self, member: bytes, score: float, max_entries: int = 128, max_value: int = 64) -> int:
        """Insert a member or give it another score; returns ADDED, UPDATED or UNCHANGED.

        As in Redis, 0 and -0 are the same score, of which the older stays; and a listpack, which
        stores it as an integer, cannot keep the sign.
        """
        new: _Score = float(score)
        scores = self._scores
        old: _Score = scores.get(member)
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
            self._put(new, member)
            return ADDED
        if not self._move(old, new, member):
            self._take(old, member)
            self._put(new, member)
        return UPDATED

    def remove(self, member: bytes) -> bool:
        """Take a member out; returns True if it was there."""
        score: _Score = self._scores.pop(member, None)
        if score is None:
            return False
        self._take(score, member)
        return True

    def delete_by_rank(self, start: int, stop: int) -> list[bytes]:
        """ZREMRANGEBYRANK: returns the removed members, in order."""
        low, high = _bounds(start, stop, len(self))
        return self._cut(low, high)[0]

    def delete_by_score(self, low: float, low_ex: bool, high: float, high_ex: bool) -> list[bytes]:
        """ZREMRANGEBYSCORE: returns the removed members, in order."""
        return self._cut(self._below(low, low_ex), self._below(high, not high_ex))[0]

    def delete_by_lex(
        self, low: bytes | None, low_ex: bool, high: bytes | None, high_ex: bool
    ) -> list[bytes]:
        """ZREMRANGEBYLEX: returns the removed members, in order."""
        start, stop = self._lex_ranks(low, low_ex, high, high_ex)
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
        score: _Score = self._scores.get(member)
        return None if score is None else self._until(score, member) - 1

    def reverse_rank(self, member: bytes) -> int | None:
        """How many come after the member; None if it is not there."""
        score: _Score = self._scores.get(member)
        return None if score is None else len(self) - self._until(score, member)

    def by_rank(
        self, start: int, stop: int, reverse: bool = False
    ) -> tuple[list[bytes], list[float]]:
        """ZRANGE: both ends included, negative ones count from the end; ``reverse`` counts and
        returns from the highest down. Gives the members and, in a list of their own, the scores."""
        low, high = _bounds(start, stop, len(self))
        if reverse:
            low, high = len(self) - high, len(self) - low
        return self._window(low, high, 0, -1, reverse)

    def count_by_score(self, low: float, low_ex: bool, high: float, high_ex: bool) -> int:
        """ZCOUNT."""
        return max(0, self._below(high, not high_ex) - self._below(low, low_ex))

    def by_score(
        self,
        low: float,
        low_ex: bool,
        high: float,
        high_ex: bool,
        offset: int = 0,
        count: int = -1,
        reverse: bool = False,
    ) -> tuple[list[bytes], list[float]]:
        """ZRANGE BYSCORE: up to ``count`` (negative: all) after skipping ``offset`` (negative:
        none at all, as in Redis)."""
        start = self._below(low, low_ex)
        return self._window(start, self._below(high, not high_ex), offset, count, reverse)

    def count_by_lex(
        self, low: bytes | None, low_ex: bool, high: bytes | None, high_ex: bool
    ) -> int:
        """ZLEXCOUNT."""
        start, stop = self._lex_ranks(low, low_ex, high, high_ex)
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
    ) -> tuple[list[bytes], list[float]]:
        """ZRANGE BYLEX; see `by_score`."""
        start, stop = self._lex_ranks(low, low_ex, high, high_ex)
        return self._window(start, stop, offset, count, reverse)

    def items(self) -> Iterator[tuple[bytes, float]]:
        """Every (member, score) that is there now, in order."""
        members, scores = self._slice(0, len(self))
        return zip(members, scores)

    # Reading in no order -------------------------------------------------------------------------

    def scan(self, cursor: int) -> tuple[int, list[tuple[bytes, float]]]:
        """One step of a scan: the next cursor (0 when done) and some (member, score).

        With the guarantee of `Table.scan`; a small set is returned whole.
        """
        scores = self._scores
        if isinstance(scores, Table):
            following, found = scores.scan_items(cursor)
            return following, cast(list[tuple[bytes, float]], found)
        return 0, list(self.items())

    def random_member(self) -> bytes:
        """A member chosen uniformly; raises IndexError if there is none."""
        scores = self._scores
        if isinstance(scores, Table):
            return scores.random()
        if not scores:
            raise IndexError("random member of an empty sorted set")
        return next(islice(scores, int(fraction() * len(scores)), None))

    # The tree ------------------------------------------------------------------------------------

    def _put(self, score: _Score, member: bytes) -> None:
        """Insert an entry that is not there. Full nodes are split on the way down, so that there
        is always room above."""
        node = self._own_root()
        if len(node.scores) >= _MAX:
            node = _Node([node.scores[0]], [node.members[0]], [node], [node.total()])
            self._root = node
        children = node.children
        while children is not None:
            index = node.place(score, member) - 1
            if index < 0:
                index = 0
                node.scores[0] = score
                node.members[0] = member
            child = children[index]
            if len(child.scores) >= _MAX:
                # Entries that come in order fill the nodes; others need room on both sides.
                at_end = child.place(score, member) == _MAX
                node.split(index, _MAX - _MIN if at_end else _MAX // 2)
                index = node.place(score, member) - 1
            node.counts[index] += 1
            node = node.own(index)
            children = node.children
        index = node.place(score, member)
        node.scores.insert(index, score)
        node.members.insert(index, member)

    def _take(self, score: _Score, member: bytes) -> None:
        """Remove an entry that is there. Short nodes are mended on the way down, so that each can
        spare a child."""
        node = self._own_root()
        children = node.children
        while children is not None:
            index = node.place(score, member) - 1
            if len(children[index].scores) <= _MIN:
                node.mend(index)
                index = node.place(score, member) - 1
            node.counts[index] -= 1
            node = node.own(index)
            children = node.children
        index = node.place(score, member) - 1
        del node.scores[index]
        del node.members[index]
        self._lower_root()

    def _move(self, old: _Score, new: _Score, member: bytes) -> bool:
        """Change the score of an entry that is there, if it stays in its leaf; else return False
        and change nothing."""
        node = self._own_root()
        children = node.children
        while children is not None:
            index = node.place(old, member)
            if node.place(new, member) != index:
                return False
            node = node.own(index - 1)
            children = node.children
        index = node.place(old, member) - 1
        del node.scores[index]
        del node.members[index]
        index = node.place(new, member)
        node.scores.insert(index, new)
        node.members.insert(index, member)
        return True

    def _own_root(self) -> _Node:
        if self._root.shared:
            self._root = self._root.copy()
        return self._root

    def _lower_root(self) -> None:
        children = self._root.children
        while children is not None and len(children) == 1:
            self._root = children[0]
            children = self._root.children

    def _cut(self, start: int, stop: int) -> tuple[list[bytes], list[_Score]]:
        """Remove the entries of the ranks start <= rank < stop, and return them."""
        members: list[bytes] = []
        scores: list[_Score] = []
        left = stop - start
        while left > 0:
            left -= self._own_root().cut(start, start + left, members, scores)
            self._lower_root()
        for member in members:
            self._scores.pop(member)
        return members, scores

    def _slice(self, start: int, stop: int) -> tuple[list[bytes], list[_Score]]:
        """The entries of the ranks start <= rank < stop."""
        members: list[bytes] = []
        scores: list[_Score] = []
        if start < stop:
            self._root.slice(start, stop, members, scores)
        return members, scores

    def _window(
        self, start: int, stop: int, offset: int, count: int, reverse: bool
    ) -> tuple[list[bytes], list[float]]:
        """LIMIT offset count of the ranks start <= rank < stop."""
        if offset < 0:
            return [], []
        if count < 0:
            count = len(self)
        if reverse:
            stop -= offset
            start = max(start, stop - count)
        else:
            start += offset
            stop = min(stop, start + count)
        members, scores = self._slice(start, stop)
        if reverse:
            members.reverse()
            scores.reverse()
        return members, scores

    def _until(self, score: _Score, member: bytes) -> int:
        """How many entries are not above (score, member)."""
        before = 0
        node = self._root
        while True:
            index = node.place(score, member)
            children = node.children
            if children is None or index == 0:
                return before + index
            before += sum(node.counts[: index - 1])
            node = children[index - 1]

    def _below(self, score: _Score, inclusive: bool) -> int:
        """How many entries have a score below this one, or equal to it if ``inclusive``."""
        before = 0
        node = self._root
        while True:
            scores = node.scores
            index = bisect_right(scores, score) if inclusive else bisect_left(scores, score)
            children = node.children
            if children is None or index == 0:
                return before + index
            before += sum(node.counts[: index - 1])
            node = children[index - 1]

    def _lex_ranks(
        self, low: bytes | None, low_ex: bool, high: bytes | None, high_ex: bool
    ) -> tuple[int, int]:
        """The ranks start <= rank < stop of a range of members, all scores being equal."""
        if len(self) == 0:
            return 0, 0
        node = self._root
        while node.children is not None:
            node = node.children[0]
        score: _Score = node.scores[0]
        start = 0
        if low is not None:
            start = self._until(score, low)
            if not low_ex and self._scores.get(low) == score:
                start -= 1
        stop = len(self)
        if high is not None:
            stop = self._until(score, high)
            if high_ex and self._scores.get(high) == score:
                stop -= 1
        return start, stop

    def check(self) -> None:
        """Verify every invariant; for tests. Raises AssertionError."""
        scores = self._scores
        if isinstance(scores, Table):
            scores.check()
        else:
            assert len(scores) <= _FLAT
        self._root.check(True)
        assert self._root.total() == len(scores)
        for member, score in self.items():
            kept = scores.get(member)
            assert kept is score or kept == score
        assert self.encoding in (LISTPACK, SKIPLIST)


def _bounds(start: int, stop: int, size: int) -> tuple[int, int]:
    """Redis' range, both ends included and negative ones from the end, as start <= i < stop."""
    if start < 0:
        start = max(0, start + size)
    if stop < 0:
        stop += size
    return start, max(start, min(stop + 1, size))
