"""The text of the log: what is written is read back, a torn end is found, damage is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore import families
from kvcore.codec.output import Output
from kvcore.commits import Batch, Encoder
from kvcore.engine import Engine
from kvcore.errors import CorruptData
from kvcore.keyspace import Keyspace
from kvcore.load import EngineLoader
from kvcore.persistence import Loader
from kvcore_aof.commands import CHUNK, Replayer
from plugins.aof.tests.harness import request

Commit = list[tuple[int, list[bytes]]]


class Recorder(Loader):
    """A loader that remembers commits in place of executing them."""

    def __init__(self) -> None:
        self.replayed: Commit = []

    def replay(self, db: int, argv: list[bytes]) -> None:
        if argv[0] == b"REFUSED":
            raise CorruptData("command 'REFUSED' cannot be replayed: ERR unknown command")
        self.replayed.append((db, argv))


def encode(commits: list[Commit], *, timestamps: bool = False) -> bytes:
    encoder = Encoder()
    encoder.timestamps = timestamps
    out = Output()
    for second, commit in enumerate(commits):
        encoder.add(Batch(commit, []), out, second // 2)
    return b"".join(out.take())


def replay(text: bytes, chunk: int = CHUNK) -> tuple[Commit, int, str]:
    """What was executed, where the whole part ends, and why that is not all."""
    recorder = Recorder()
    replayer = Replayer(recorder, "the.aof")
    for at in range(0, len(text), chunk):
        replayer.feed(text[at : at + chunk])
    end, why = replayer.finish()
    return recorder.replayed, end, why


ARGUMENT = (
    st.binary(max_size=8)
    | st.text("\r\n*$#:019 ", max_size=12).map(str.encode)
    | st.integers(900, 1200).map(lambda size: b"x" * size)
)
COMMAND = st.tuples(
    st.integers(0, 3),
    st.tuples(st.sampled_from([b"SET", b"del", b"Incr"]), st.lists(ARGUMENT, max_size=3)).map(
        lambda parts: [parts[0], *parts[1]]
    ),
)
COMMITS = st.lists(st.lists(COMMAND, min_size=1, max_size=3), max_size=6)


@pytest.mark.behaviour("AOF: text", "read back however it is cut into pieces")
@given(COMMITS, st.integers(1, 300), st.booleans())
def test_what_is_written_is_read_back_however_it_is_cut(
    commits: list[Commit], chunk: int, timestamps: bool
) -> None:
    text = encode(commits, timestamps=timestamps)
    assert replay(text, chunk) == (list(itertools.chain(*commits)), len(text), "")


PLAIN = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, 1), st.lists(st.binary(max_size=5), max_size=3).map(lambda a: [b"A", *a])
        ),
        min_size=1,
        max_size=3,
    ),
    min_size=1,
    max_size=3,
)


@given(PLAIN)
def test_a_torn_log_holds_whole_commits_and_can_be_appended_to(commits: list[Commit]) -> None:
    text = encode(commits)
    whole = [list(itertools.chain(*commits[:n])) for n in range(len(commits) + 1)]
    for cut in range(len(text) + 1):
        replayed, end, why = replay(text[:cut])
        assert replayed in whole
        assert end <= cut
        assert (why == "") == (end == cut)
        # What is appended behind the cut is read as it was meant.
        more = text[:end] + request("SELECT", "7") + request("LATER")
        assert replay(more) == ([*replayed, (7, [b"LATER"])], len(more), "")


@given(PLAIN, st.data())
def test_a_flipped_byte_gives_an_error_or_other_commands_but_never_a_crash(
    commits: list[Commit], data: st.DataObject
) -> None:
    text = bytearray(encode(commits))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] = data.draw(st.integers(0, 255))
    damage = None
    try:
        _, end, why = replay(bytes(text))
    except CorruptData as error:
        damage = error
    if damage is None:
        assert end <= len(text)
        assert why or end == len(text)
    else:
        assert 0 <= damage.offset <= len(text)
        assert damage.path == "the.aof"


@given(st.binary(max_size=60) | st.text("*$#\r\n0123A", max_size=60).map(str.encode))
def test_any_bytes_are_a_log_or_damage(text: bytes) -> None:
    try:
        replay(text)
    except CorruptData:
        pass


GOOD = request("SET", "k", "v")

DAMAGE = [
    (b"*-1\r\n", 0),
    (b"*0\r\n", 0),
    (b"*01\r\n", 0),
    (b"*+1\r\n", 0),
    (b"*1_0\r\n", 0),
    (b"* 1\r\n", 0),
    (b"*99999999999\r\n", 0),
    (b"nonsense\r\n", 0),
    (b"SET k v\r\n", 0),
    (b"\x00\x00\x00\x00", 0),
    (b"REDIS0010", 0),
    (b"*1\r\n$-1\r\n", 4),
    (b"*1\r\n$600000000\r\n", 4),
    (b"*1\r\n:1\r\n", 4),
    (b"*1\r\n*1\r\n", 4),
    (b"*1\r\n\r\n", 4),
    (b"*1\r\n$1\r\nabc\r\n", 8),
    (b"*1\r\n$1\r\na\rb\n", 8),
    (b"*1\r\n$2\r\na\r\n*1\r\n", 8),
    (b"*2\n$1\na\n", 0),
]


@pytest.mark.behaviour("AOF: damage", "each kind, at its offset")
@pytest.mark.behaviour(
    "2. a negative length in an AOF aborts the process", "refused with its offset"
)
@pytest.mark.parametrize(("text", "at"), DAMAGE, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("after", [b"", GOOD], ids=["at the end", "in the middle"])
def test_damage_is_refused_where_it_is(text: bytes, at: int, after: bytes) -> None:
    with pytest.raises(CorruptData, match="Bad file format") as error:
        replay(GOOD + text + after)
    assert error.value.offset == len(GOOD) + at
    assert error.value.path == "the.aof"


SWALLOWING = [
    GOOD.replace(b"$1\r\nv", b"$9999\r\nv"),  # a length that reaches beyond the end
    GOOD.replace(b"$1\r\nv", b"$100\r\nv"),
    GOOD.replace(b"$3", b"$9999999"),
    request("MULTI") + GOOD.replace(b"$1\r\nv", b"$9999\r\nv"),
]


@pytest.mark.behaviour(
    "5. an overlong length passes for truncation", "damage, unless nothing follows"
)
@pytest.mark.parametrize("damaged", SWALLOWING)
@pytest.mark.parametrize("after", [GOOD, GOOD * 500, GOOD + GOOD[:-3], request("EXEC")])
def test_an_overlong_length_in_the_middle_is_damage_and_no_torn_end(
    damaged: bytes, after: bytes
) -> None:
    with pytest.raises(CorruptData):
        replay(GOOD + damaged + after, chunk=100)


def test_too_many_arguments_are_noticed_at_the_next_command_not_at_the_end() -> None:
    replayer = Replayer(Recorder(), "the.aof")
    with pytest.raises(CorruptData):
        replayer.feed(GOOD.replace(b"*3", b"*2000000000") + GOOD)


def test_the_declared_length_is_no_reason_to_read_more_than_that() -> None:
    replayer = Replayer(Recorder(), "the.aof")
    replayer.feed(b"*1\r\n$5000000\r\nabc")
    assert replayer.want == 5000000 + 2 - 3


@pytest.mark.parametrize(
    "text",
    [
        request("EXEC"),
        request("MULTI") + request("MULTI"),
        request("SELECT"),
        request("SELECT", "x"),
        request("SELECT", "-1"),
        request("select", "1", "2"),
        request("REFUSED"),
        request("MULTI") + request("REFUSED") + request("EXEC"),
    ],
)
def test_what_cannot_be_executed_is_refused(text: bytes) -> None:
    with pytest.raises(CorruptData) as error:
        replay(GOOD + text + GOOD)
    assert error.value.path == "the.aof"
    assert len(GOOD) <= error.value.offset < len(GOOD + text)


def test_names_may_be_written_in_any_case() -> None:
    text = (
        request("Select", "2")
        + request("multi")
        + request("set", "a", "b")
        + request("sElect", "3")
        + request("set", "a", "b")
        + request("exec")
        + request("set", "c", "d")
    )
    assert replay(text)[0] == [
        (2, [b"set", b"a", b"b"]),
        (3, [b"set", b"a", b"b"]),
        (3, [b"set", b"c", b"d"]),
    ]


@pytest.mark.behaviour("AOF: timestamps", "skipped by a load, unless torn")
def test_annotations_are_skipped_unless_torn() -> None:
    text = b"#TS:1700000000\r\n" + GOOD + b"#anything\r\n"
    assert replay(text) == ([(0, [b"SET", b"k", b"v"])], len(text), "")
    replayed, end, why = replay(text + b"#TS:17000")
    assert (len(replayed), end, bool(why)) == (1, len(text), True)


def test_a_commit_that_cannot_be_written_leaves_no_trace() -> None:
    encoder = Encoder()
    out = Output()
    encoder.add(Batch([(0, [b"A"])], []), out, 0)
    before = out.size
    broken: Commit = [(1, [b"B"]), (1, [object()])]  # type: ignore[list-item]
    with pytest.raises(TypeError):
        encoder.add(Batch(broken, []), out, 0)
    assert out.size == before
    encoder.add(Batch([(0, [b"C"])], []), out, 0)
    assert replay(b"".join(out.take()))[0] == [(0, [b"A"]), (0, [b"C"])]


@pytest.mark.parametrize("place", [0, 1, 31, 32, 33, 64, 90])
def test_the_request_that_is_refused_among_many_is_told_with_its_offset(place: int) -> None:
    keyspace = Keyspace()
    for datatype in families.kvcore_types():
        keyspace.types.add(datatype)
    engine = Engine(keyspace)
    engine.commands.add(families.kvcore_commands())
    loader = EngineLoader(engine)
    requests = [request(b"SET", b"key:%d" % n, b"v") for n in range(100)]
    requests[place] = request(b"INCR", b"key:0") if place else request(b"INCR", b"a", b"b", b"c")
    before = b"".join(requests[:place])
    replayer = Replayer(loader, "the.aof", 1000)
    with pytest.raises(CorruptData) as error:
        replayer.feed(b"".join(requests))
    assert "'INCR' cannot be replayed" in error.value.why
    assert (error.value.path, error.value.offset) == ("the.aof", 1000 + len(before))
    assert loader.commands == keyspace.size() == place
