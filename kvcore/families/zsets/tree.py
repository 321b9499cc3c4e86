"""The order of a sorted set: a counted B+ tree of entries (score, member), none of which is equal.

Leaves hold runs of entries, inner nodes know how many entries each child holds. All ranges, by
rank, score or member, become ranges of ranks, so that every operation is O(log n) plus what it
returns. Up to _MAX entries the tree is one leaf.

Scores and counts lie in packed arrays of machine numbers, members in lists beside them: to find a
place in a node of a large tree is to read a few neighbouring words, where as many float objects
would each be a line of the processor's cache that is not there. A member is looked at only where
scores are equal.

A copy is lazy, as that of the Table: two trees share their nodes, and whoever changes one copies it
and those above it. A node that is marked ``shared`` may be in another tree as well, and so may be
all below it; the mark moves down as nodes are copied.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from kvcore.codec.numbers import COMPILED

# What compiled code reads without making objects is slow to the interpreter: it has its lists.
# (mypyc takes this condition to be true, here and below, and leaves the other branch out.)
if COMPILED or TYPE_CHECKING:
    from librt.vecs import append, extend, pop, vec
    from mypy_extensions import i64
else:
    i64 = int
    vec = list

    def append(items, item):
        items.append(item)
        return items

    def extend(items, more):
        items += more
        return items

    def pop(items, index):
        item = items.pop(index)
        return items, item


_MAX: Final = 128  # entries or children of a node; ranks are counted through them one by one
_MIN: Final = 32  # except of the root
_BUILT: Final = 96  # of a node built at once: room to grow
_STRIDE: Final = 8  # scores in a line of the processor's cache
_FEW: Final = 4  # equal scores, that are looked at one by one


def _right(scores: vec[float], score: float) -> i64:
    """How many of these are not above the score.

    Compiled, by a look at each eighth and then at eight: a bisection reads fewer of them, but has
    to wait for each before it knows the next, where these come from memory all at once.
    """
    if COMPILED or TYPE_CHECKING:
        index: i64 = 0
        size: i64 = len(scores)
        while index + _STRIDE < size and scores[index + _STRIDE] <= score:
            index += _STRIDE
        while index < size and scores[index] <= score:
            index += 1
        return index
    return bisect_right(scores, score)


def _left(scores: vec[float], score: float) -> i64:
    """How many of these are below the score; as `_right`."""
    if COMPILED or TYPE_CHECKING:
        index: i64 = 0
        size: i64 = len(scores)
        while index + _STRIDE < size and scores[index + _STRIDE] < score:
            index += _STRIDE
        while index < size and scores[index] < score:
            index += 1
        return index
    return bisect_left(scores, score)


def _sum(counts: vec[i64], stop: i64) -> i64:
    """The sum of the first ``stop`` of these."""
    if COMPILED or TYPE_CHECKING:
        total: i64 = 0
        index: i64 = 0
        while index < stop:
            total += counts[index]
            index += 1
        return total
    return sum(counts[:stop])


def _with_score(scores: vec[float], index: i64, score: float) -> vec[float]:
    """Who calls it gives the array up, and keeps what it returns."""
    if COMPILED or TYPE_CHECKING:
        scores = append(scores, score)
        at: i64 = len(scores) - 1
        while at > index:
            scores[at] = scores[at - 1]
            at -= 1
        scores[index] = score
    else:
        scores.insert(index, score)
    return scores


class _Node:
    """A leaf (``children`` is None): its entries, in order, in two parallel arrays.

    An inner node: for each child a bound (score, member) that is not above the child's first entry
    and above the last entry before it, and in ``counts`` the child's number of entries.
    """

    __slots__ = ("children", "counts", "members", "scores", "shared")

    scores: vec[float]
    members: list[bytes]
    children: list[_Node] | None
    counts: vec[i64]
    shared: bool

    def __init__(
        self,
        scores: vec[float],
        members: list[bytes],
        children: list[_Node] | None,
        counts: vec[i64],
    ) -> None:
        self.scores = scores
        self.members = members
        self.children = children
        self.counts = counts
        self.shared = False

    def copy(self) -> _Node:
        """A copy of a shared node, to be changed in its place."""
        children = self.children
        if children is not None:
            for child in children:
                child.shared = True
            children = children.copy()
        return _Node(self.scores[:], self.members.copy(), children, self.counts[:])

    def own(self, index: i64) -> _Node:
        """Child ``index``, to be changed. This node is in one tree only."""
        assert self.children is not None
        child = self.children[index]
        if child.shared:
            child = child.copy()
            self.children[index] = child
        return child

    def total(self) -> i64:
        """The number of entries in and below this node."""
        if self.children is None:
            return len(self.scores)
        return _sum(self.counts, len(self.counts))

    def place(self, score: float, member: bytes) -> i64:
        """How many of this node's own entries or bounds are not above (score, member)."""
        end = _right(self.scores, score)
        if end == 0 or self.scores[end - 1] != score:
            return end
        return self._place_among(score, member, end)

    def place_of(self, score: float, member: bytes) -> i64:
        """`place`, if the entry is somewhere in the tree."""
        if self.children is not None:
            return self.place(score, member)
        end = _right(self.scores, score)
        if end == 1 or self.scores[end - 2] != score:
            return end
        return self._place_among(score, member, end)

    def _place_among(self, score: float, member: bytes, end: i64) -> i64:
        """`place` among equal scores, the last of which is before ``end``."""
        members = self.members
        least = end - _FEW
        while end > 0 and self.scores[end - 1] == score:
            if members[end - 1] <= member:
                break
            end -= 1
            if end == least:
                return bisect_right(members, member, _left(self.scores, score), end)
        return end

    def insert(self, score: float, member: bytes) -> None:
        """Put an entry into this leaf, and keep the member's object."""
        index = self.place(score, member)
        self.scores = _with_score(self.scores, index, score)
        self.members.insert(index, member)

    def remove(self, score: float, member: bytes) -> bytes:
        """Take an entry out of this leaf, where it is; returns the member's object."""
        index = self.place_of(score, member) - 1
        self.scores, _ = pop(self.scores, index)
        return self.members.pop(index)

    def split(self, index: i64, at: i64) -> None:
        """Move what child ``index`` has from ``at`` on to a new child after it."""
        assert self.children is not None
        left = self.own(index)
        right = _Node(left.scores[at:], left.members[at:], None, left.counts[at:])
        left.scores = left.scores[:at]  # slices, for `del` would keep the room
        left.members = left.members[:at]
        left.counts = left.counts[:at]
        if left.children is not None:
            right.children = left.children[at:]
            left.children = left.children[:at]
        moved = right.total()
        self.counts[index] -= moved
        self.counts = extend(append(self.counts[: index + 1], moved), self.counts[index + 1 :])
        self.scores = _with_score(self.scores, index + 1, right.scores[0])
        self.members.insert(index + 1, right.members[0])
        self.children.insert(index + 1, right)

    def mend(self, index: i64) -> None:
        """Join child ``index``, which is short, with a sibling; halve them if that is too long."""
        assert self.children is not None
        if index == 0:
            index = 1
        left = self.own(index - 1)
        right = self.own(index)
        self.children.pop(index)
        left.scores = extend(left.scores, right.scores)
        left.members += right.members
        left.counts = extend(left.counts, right.counts)
        if left.children is not None and right.children is not None:
            left.children += right.children
        self.counts, moved = pop(self.counts, index)
        self.counts[index - 1] += moved
        self.scores, _ = pop(self.scores, index)
        del self.members[index]
        if len(left.scores) > _MAX:
            self.split(index - 1, len(left.scores) // 2)

    def slice(
        self, start: i64, stop: i64, members: list[bytes], scores: list[float] | None
    ) -> None:
        """Append the entries of the ranks start <= rank < stop to the lists."""
        children = self.children
        if children is None:
            members += self.members[start:stop]
            if scores is not None:
                scores += list(self.scores[start:stop])
            return
        index: i64 = 0
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

    def cut(self, start: i64, stop: i64, members: list[bytes], scores: list[float]) -> i64:
        """Move entries from rank ``start`` on, up to ``stop``, to the two lists.

        Stops at the end of a leaf, so that each node on the way loses one child at most; returns
        how many it has moved, at least one.
        """
        children = self.children
        if children is None:
            if stop - start == 1:
                self.scores, score = pop(self.scores, start)
                scores.append(score)
                members.append(self.members.pop(start))
                return 1
            moved = self.members[start:stop]
            members += moved
            scores += list(self.scores[start:stop])
            del self.members[start:stop]
            self.scores = extend(self.scores[:start], self.scores[stop:])
            return len(moved)
        index: i64 = 0
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
        keys = list(zip(list(self.scores), self.members))
        assert all(a < b for a, b in pairwise(keys))
        children = self.children
        if children is None:
            assert is_root or size >= _MIN
            assert len(self.counts) == 0
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


def _parts(size: int) -> list[tuple[int, int]]:
    """Bounds that cut ``size`` things into parts for nodes, all about equal."""
    if size <= _MAX:
        return [(0, size)]
    parts = -(-size // _BUILT)
    return [(size * i // parts, size * (i + 1) // parts) for i in range(parts)]


class Tree:
    """Who calls it knows which entries are there: none comes twice, none is taken that is not."""

    __slots__ = ("_root",)

    _root: _Node

    def __init__(self, scores: list[float], members: list[bytes]) -> None:
        """Of these entries, which are in order."""
        nodes = []
        for start, stop in _parts(len(scores)):
            nodes.append(
                _Node(vec[float](scores[start:stop]), members[start:stop], None, vec[i64]())
            )
        while len(nodes) > 1:
            parents = []
            for start, stop in _parts(len(nodes)):
                group = nodes[start:stop]
                parents.append(
                    _Node(
                        vec[float]([node.scores[0] for node in group]),
                        [node.members[0] for node in group],
                        group,
                        vec[i64]([node.total() for node in group]),
                    )
                )
            nodes = parents
        self._root = nodes[0]

    def copy(self) -> Tree:
        twin = Tree([], [])
        twin._root = self._root
        self._root.shared = True
        return twin

    def __len__(self) -> int:
        return self._root.total()

    # Changing ------------------------------------------------------------------------------------

    def put(self, score: float, member: bytes) -> None:
        """Insert an entry. Full nodes are split on the way down, so that there is always room
        above."""
        node = self._own_root()
        if len(node.scores) >= _MAX:
            node = _Node(node.scores[:1], node.members[:1], [node], vec[i64]([node.total()]))
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
        node.insert(score, member)

    def take(self, score: float, member: bytes) -> bytes:
        """Remove an entry; returns the member's object.

        Short nodes are mended on the way down, so that each can spare a child.
        """
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
        kept = node.remove(score, member)
        self._lower_root()
        return kept

    def move(self, old: float, new: float, member: bytes) -> None:
        """Give an entry another score. Its member stays the object that it was, which others have
        too: the request's would take room of its own."""
        node = self._own_root()
        children = node.children
        while children is not None:
            index = node.place(old, member)
            if node.place(new, member) != index:
                self.put(new, self.take(old, member))
                return
            node = node.own(index - 1)
            children = node.children
        node.insert(new, node.remove(old, member))

    def cut(self, start: int, stop: int) -> tuple[list[bytes], list[float]]:
        """Remove the entries of the ranks start <= rank < stop, and return them."""
        members: list[bytes] = []
        scores: list[float] = []
        left = stop - start
        while left > 0:
            left -= self._own_root().cut(start, start + left, members, scores)
            self._lower_root()
        return members, scores

    def dismantle(self) -> list[_Node]:
        """Become empty; returns nodes of which none may be changed, for a copy may have them, for
        `free`."""
        nodes = [self._root]
        self._root = _Node(vec[float](), [], None, vec[i64]())
        return nodes

    def _own_root(self) -> _Node:
        if self._root.shared:
            self._root = self._root.copy()
        return self._root

    def _lower_root(self) -> None:
        children = self._root.children
        while children is not None and len(children) == 1:
            self._root = children[0]
            children = self._root.children

    # Reading -------------------------------------------------------------------------------------

    def slice(
        self, start: int, stop: int, with_scores: bool = True
    ) -> tuple[list[bytes], list[float]]:
        """The members of the ranks start <= rank < stop, and their scores, if asked for."""
        members: list[bytes] = []
        scores: list[float] = []
        if start < stop:
            self._root.slice(start, stop, members, scores if with_scores else None)
        return members, scores

    def rank(self, score: float, member: bytes) -> int:
        """How many entries are below this one, which is there."""
        before: i64 = 0
        node = self._root
        while True:
            index = node.place_of(score, member) - 1
            children = node.children
            if children is None:
                return before + index
            before += _sum(node.counts, index)
            node = children[index]

    def until(self, score: float, member: bytes) -> int:
        """How many entries are not above (score, member)."""
        before: i64 = 0
        node = self._root
        while True:
            index = node.place(score, member)
            children = node.children
            if children is None or index == 0:
                return before + index
            before += _sum(node.counts, index - 1)
            node = children[index - 1]

    def below(self, score: float, inclusive: bool) -> int:
        """How many entries have a score below this one, or equal to it if ``inclusive``."""
        before: i64 = 0
        node = self._root
        while True:
            index = _right(node.scores, score) if inclusive else _left(node.scores, score)
            children = node.children
            if children is None or index == 0:
                return before + index
            before += _sum(node.counts, index - 1)
            node = children[index - 1]

    def lowest(self) -> float:
        """The score of the first entry; raises IndexError if there is none."""
        node = self._root
        while node.children is not None:
            node = node.children[0]
        return node.scores[0]

    def check(self) -> None:
        """Verify every invariant; for tests. Raises AssertionError."""
        self._root.check(True)


def free(nodes: list[_Node]) -> bool:
    """Let go of one of these nodes (see `Tree.dismantle`), to be called until it returns False."""
    if not nodes:
        return False
    children = nodes.pop().children
    if children is not None:
        nodes += children
    return True
