"""kvcore.resp without an oracle: how a stream is cut never matters, limits hold, replies parse."""

from __future__ import annotations

import math
import tracemalloc
from collections.abc import Iterable

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore.codec.output import Output
from kvcore.errors import CommandError
from kvcore.reply import NIL_ARRAY, OK, QUEUED, LongDouble, PairMap, Pairs, Push, Verbatim, plain
from kvcore.resp import Parser, encode2, encode3, pack

Requests = list[list[bytes]]


def multibulk(args: Iterable[bytes]) -> bytes:
    args = list(args)
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in args)


def feed_all(parser: Parser, chunks: Iterable[bytes]) -> Requests:
    return [request for chunk in chunks for request in parser.feed(chunk)]


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    """The stream in chunks of these sizes, over and over; in one if there are none."""
    chunks = []
    pos = turn = 0
    while sizes and pos < len(stream):
        size = sizes[turn % len(sizes)]
        chunks.append(stream[pos : pos + size])
        pos += size
        turn += 1
    return chunks or [stream]


# Requests ------------------------------------------------------------------------------------

arguments = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"", b"\r\n", b"a\r\n$1\r\nb", b"*1\r\n"]),
    st.sampled_from([1024, 1025, 5000]).map(bytes),
)
requests = st.lists(arguments, min_size=1, max_size=5)
words = st.lists(st.text("abcXYZ019:", min_size=1, max_size=8), min_size=1, max_size=4)
# What goes over the wire, and the requests that it holds.
items: st.SearchStrategy[tuple[bytes, Requests]] = st.one_of(
    requests.map(lambda args: (multibulk(args), [args])),
    words.map(lambda line: (f"{' '.join(line)}\r\n".encode(), [[w.encode() for w in line]])),
    words.map(lambda line: (f" {'  '.join(line)}\n".encode(), [[w.encode() for w in line]])),
    st.sampled_from([b"*0\r\n", b"*-1\r\n", b"*-77\r\n", b"\r\n", b"\n", b"  \r\n"]).map(
        lambda nothing: (nothing, [])
    ),
)
sizes = st.lists(st.integers(1, 40) | st.integers(1, 2000), max_size=6)


@given(st.lists(items, max_size=8), sizes)
def test_any_cut_of_a_stream_gives_the_same_requests(
    stream: list[tuple[bytes, Requests]], sizes: list[int]
) -> None:
    parser = Parser()
    wire = b"".join(part for part, _ in stream)
    assert feed_all(parser, cut(wire, sizes)) == [r for _, found in stream for r in found]
    assert parser.error is None
    assert parser.buffered() == 0


def test_a_request_cut_at_every_place() -> None:
    wire = multibulk([b"SET", b"k", b"v" * 12, b""]) + b"PING\r\n" + multibulk([b"GET", b"k"])
    expected = [[b"SET", b"k", b"v" * 12, b""], [b"PING"], [b"GET", b"k"]]
    for place in range(len(wire) + 1):
        assert feed_all(Parser(), [wire[:place], wire[place:]]) == expected
    assert feed_all(Parser(), cut(wire, [1])) == expected


# Bytes that reach every branch more often than random ones.
pieces = st.sampled_from(
    [*(b"%c" % c for c in b"*$-:0123a \"'\r\n"), b"\r\n", b"10", b"*1\r\n", b"$1\r\n"]
)
garbage = st.lists(
    st.one_of(pieces, st.binary(max_size=5), items.map(lambda item: item[0])), max_size=30
).map(b"".join)


@given(garbage, sizes)
def test_any_cut_of_garbage_gives_the_same_requests_and_the_same_error(
    stream: bytes, sizes: list[int]
) -> None:
    whole, parts = Parser(), Parser()
    assert feed_all(whole, [stream]) == feed_all(parts, cut(stream, sizes))
    assert whole.error == parts.error
    assert whole.error is None or whole.error.isprintable()


def test_nothing_is_parsed_after_an_error() -> None:
    parser = Parser()
    assert parser.feed(b"PING\r\n*x\r\nPING\r\n") == [[b"PING"]]
    assert parser.error == "Protocol error: invalid multibulk length"
    assert parser.feed(b"PING\r\n") == []
    assert parser.buffered() == 0


@pytest.mark.parametrize("digits", [b"1_0", b" 4", b"4 ", b"+4", b"04", b"-0", "\u0664".encode()])
def test_lengths_are_strict(digits: bytes) -> None:
    parser = Parser()
    assert parser.feed(b"*1\r\n$%b\r\nPING\r\n" % digits) == []
    assert parser.error == "Protocol error: invalid bulk length"
    parser = Parser()
    parser.feed(b"*%b\r\n" % digits)
    assert parser.error == "Protocol error: invalid multibulk length"


def test_a_number_of_many_digits_is_refused_at_once() -> None:
    for stream in (b"*" + b"9" * 60_000 + b"\r\n", b"*1\r\n$" + b"9" * 60_000 + b"\r\n"):
        parser = Parser()
        parser.feed(stream)
        assert parser.error is not None
        assert "invalid" in parser.error


@pytest.mark.parametrize(
    ("start", "error"),
    [
        (b"", "too big inline request"),
        (b"*", "too big mbulk count string"),
        (b"*1\r\n$", "too big bulk count string"),
    ],
)
@pytest.mark.parametrize("size", [1000, 65536, 10**6])
def test_a_line_has_at_most_64_kb_however_it_is_cut(start: bytes, error: str, size: int) -> None:
    fill = 65536 - (len(start) - start.rfind(b"\n") - 1)
    parser = Parser()
    feed_all(parser, cut(start + b"1" * fill, [size]))
    assert parser.error is None
    assert parser.buffered() == 65536
    parser = Parser()
    feed_all(parser, cut(start + b"1" * (fill + 1) + b"\r\n", [size]))
    assert parser.error == f"Protocol error: {error}"


def test_an_inline_line_of_64_kb_is_a_request() -> None:
    assert feed_all(Parser(), [b"x" * 65535 + b"\r\n"]) == [[b"x" * 65535]]


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b"SET a 1\r\n", [b"SET", b"a", b"1"]),
        (b"\t SET  a\t1 \n", [b"SET", b"a", b"1"]),
        (b"SET a\rb 1\r\n", [b"SET", b"a", b"b", b"1"]),
        (b"SET a\x0bb \x0c1\r\n", [b"SET", b"a\x0bb", b"1"]),
        (b"SET 'a b' \"c\\n\"\r\n", [b"SET", b"a b", b"c\n"]),
        (b"SET a\0 1\r\n", [b"SET", b"a"]),
        (b"SET " + b"a" * 1000 + b" 'b c'\r\n", [b"SET", b"a" * 1000, b"b c"]),
        (b"a " * 500 + b"\n", [b"a"] * 500),
    ],
)
def test_an_inline_line_is_cut_at_white_space_outside_of_quotes(
    line: bytes, request_: list[bytes]
) -> None:
    for place in (0, 1, len(line) // 2, len(line) - 1):
        chunks = [line[:place], line[place:] + b"PING\r\n"]
        assert feed_all(Parser(), chunks) == [request_, [b"PING"]]


def test_a_bulk_has_at_most_max_bulk_bytes() -> None:
    parser = Parser()
    parser.max_bulk = 1024 * 1024
    assert parser.feed(b"*1\r\n$1048576\r\n") == []
    assert parser.error is None
    assert [len(args[0]) for args in parser.feed(b"x" * 1048576 + b"\r\n")] == [1048576]
    parser.feed(b"*1\r\n$1048577\r\n")
    assert parser.error == "Protocol error: invalid bulk length"


def test_what_is_held_of_an_argument_has_a_limit() -> None:
    parser = Parser()
    parser.max_buffer = 1024 * 1024
    parser.feed(b"*2\r\n$4000000\r\n")
    for _ in range(16):
        parser.feed(b"x" * 65536)
    assert parser.error is None
    assert parser.buffered() == 1024 * 1024
    parser.feed(b"x")
    assert parser.error is not None
    assert parser.buffered() == 0


def test_a_pipeline_longer_than_the_limit_is_no_violation() -> None:
    parser = Parser()
    parser.max_buffer = 1024 * 1024
    assert len(parser.feed(multibulk([b"SET", b"k", b"v" * 200]) * 10_000)) == 10_000
    assert parser.error is None


def test_declared_lengths_allocate_nothing() -> None:
    parser = Parser()
    tracemalloc.start()
    parser.feed(b"*2147483647\r\n$3\r\nSET\r\n$536870912\r\nx")
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
    assert parser.error is None


def test_tiny_chunks_of_a_large_argument_take_little_more_than_its_size() -> None:
    parser = Parser()
    parser.feed(b"*1\r\n$120000\r\n")
    tracemalloc.start()
    for _ in range(60_000):
        parser.feed(bytes(bytearray(b"ab")))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 180_000
    assert parser.feed(b"\r\n") == [[b"ab" * 60_000]]


def test_a_request_of_many_arguments_in_pieces() -> None:
    args = [b"MSET"] + [b"%d" % n for n in range(100_000)]
    assert feed_all(Parser(), cut(multibulk(args), [1000])) == [args]


def test_a_large_argument_in_pieces() -> None:
    value = bytes(range(256)) * 40_000
    wire = multibulk([b"SET", b"k", value]) + multibulk([b"PING"])
    assert feed_all(Parser(), cut(wire, [65536])) == [[b"SET", b"k", value], [b"PING"]]


def test_terminators_are_skipped_unseen_as_redis_does() -> None:
    assert Parser().feed(b"*1\rX$4\rXPINGZZPING\r\n") == [[b"PING"], [b"PING"]]


# Before AUTH ---------------------------------------------------------------------------------


def stranger() -> Parser:
    parser = Parser()
    parser.authenticated = False
    return parser


def test_a_stranger_gets_ten_arguments_of_16_kb() -> None:
    request = [b"x" * 16384] * 10
    assert feed_all(stranger(), cut(multibulk(request), [65536])) == [request]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_stranger_gets_no_more(size: int) -> None:
    parser = stranger()
    assert feed_all(parser, cut(b"*11\r\n$4\r\nPING\r\n", [size])) == []
    assert parser.error == "Protocol error: unauthenticated multibulk length"
    parser = stranger()
    assert feed_all(parser, cut(b"*2\r\n$4\r\nECHO\r\n$16385\r\n", [size])) == []
    assert parser.error == "Protocol error: unauthenticated bulk length"


@given(garbage, sizes)
def test_a_stranger_cannot_fill_the_buffer(stream: bytes, sizes: list[int]) -> None:
    parser = stranger()
    for chunk in [*cut(stream, sizes), *[b"x" * 65536] * 3]:
        parser.feed(chunk)
        while parser.paused:
            parser.feed(b"")
        assert parser.buffered() <= 65537


@pytest.mark.parametrize(
    "large", [[b"MSET"] + [b"a"] * 20, [b"SET", b"k", b"v" * 20_000]], ids=["many", "long"]
)
@pytest.mark.parametrize("size", [7, 1000, 100_000])
def test_limits_wait_for_an_auth_in_the_same_chunk(large: list[bytes], size: int) -> None:
    """A client may send AUTH and go on without waiting for its reply."""
    parser = stranger()
    auth = [b"AUTH", b"secret"]
    found = []
    for chunk in cut(multibulk(auth) + multibulk(large) + b"PING\r\n", [size]):
        requests = parser.feed(chunk)
        while requests:
            found += requests
            parser.authenticated = parser.authenticated or auth in requests
            requests = parser.feed(b"") if parser.paused else []
    assert found == [auth, large, [b"PING"]]
    assert parser.error is None


def test_a_pause_ends_in_an_error_if_no_auth_came() -> None:
    parser = stranger()
    assert parser.feed(b"PING\r\n" + multibulk([b"x"] * 11) + b"PING\r\n") == [[b"PING"]]
    assert parser.paused
    assert parser.error is None
    assert parser.feed(b"") == []
    assert not parser.paused
    assert parser.error == "Protocol error: unauthenticated multibulk length"


# Replies -------------------------------------------------------------------------------------


def wire2(value: object) -> bytes:
    out = Output()
    encode2(value, out)
    return b"".join(out.take())


def wire3(value: object) -> bytes:
    out = Output()
    encode3(value, out)
    return b"".join(out.take())


def read(wire: bytes) -> object:
    """The one reply that these bytes are, as a client's parser sees it."""
    reader = hiredis.Reader(notEnoughData=Ellipsis)
    reader.feed(wire)
    reply = reader.gets()
    assert reply is not Ellipsis
    assert not reader.has_data()
    return reply


scalars = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 1100),
    st.binary(max_size=50),
    st.sampled_from([b"x" * 1024, b"x" * 1025, b"\r\n" * 3000]),
)
doubles = st.floats(allow_nan=False)
texts = st.text(st.characters(codec="utf-8"))


@given(st.recursive(scalars, lambda inner: st.lists(inner, max_size=6), max_leaves=30))
def test_arrays_come_back_from_both_protocols(value: object) -> None:
    assert read(wire2(value)) == value
    assert read(wire3(value)) == value


hashable = st.one_of(st.integers(-5, 2000), st.binary(max_size=8))
nested = st.recursive(
    st.one_of(scalars, st.booleans(), doubles),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(hashable, inner, max_size=5),
        st.frozensets(hashable, max_size=5),
        st.lists(st.tuples(hashable, inner), max_size=4).map(Pairs),
    ),
    max_leaves=25,
)


def seen_in_resp3(value: object) -> object:
    if isinstance(value, dict):
        return {key: seen_in_resp3(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return list(value)
    if isinstance(value, (list, tuple)):
        return [seen_in_resp3(item) for item in value]
    return value


def seen_in_resp2(value: object) -> object:
    if isinstance(value, dict):
        return seen_in_resp2([part for pair in value.items() for part in pair])
    if isinstance(value, Pairs):
        return seen_in_resp2([part for pair in value for part in pair])
    if isinstance(value, (list, tuple, frozenset)):
        return [seen_in_resp2(item) for item in value]
    if isinstance(value, bool):
        return int(value)
    return value


def same(seen: object, meant: object) -> bool:
    """Equal, where a double may have come as its text."""
    if isinstance(meant, float):
        if isinstance(seen, bytes):
            seen = float(seen)
        return isinstance(seen, float) and seen == meant
    if isinstance(meant, list):
        return isinstance(seen, list) and len(seen) == len(meant) and all(map(same, seen, meant))
    if isinstance(meant, dict):
        return (
            isinstance(seen, dict)
            and seen.keys() == meant.keys()
            and all(same(seen[key], meant[key]) for key in meant)
        )
    return type(seen) is type(meant) and seen == meant


@given(nested)
def test_every_nested_value_comes_back(value: object) -> None:
    assert same(read(wire2(value)), seen_in_resp2(value))
    assert same(read(wire3(value)), seen_in_resp3(value))


@pytest.mark.parametrize(
    ("value", "resp2", "resp3"),
    [
        (OK, b"+OK\r\n", b"+OK\r\n"),
        (QUEUED, b"+QUEUED\r\n", b"+QUEUED\r\n"),
        ("any text", b"+any text\r\n", b"+any text\r\n"),
        (None, b"$-1\r\n", b"_\r\n"),
        (NIL_ARRAY, b"*-1\r\n", b"_\r\n"),
        (True, b":1\r\n", b"#t\r\n"),
        (False, b":0\r\n", b"#f\r\n"),
        (-1, b":-1\r\n", b":-1\r\n"),
        (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
        (3.0, b"$1\r\n3\r\n", b",3\r\n"),
        (LongDouble(1e-7), b"$9\r\n0.0000001\r\n", b",0.0000001\r\n"),
        (LongDouble(1e20), b"$21\r\n100000000000000000000\r\n", b",100000000000000000000\r\n"),
        (LongDouble(-1e-30), b"$1\r\n0\r\n", b",0\r\n"),
        (LongDouble("inf"), b"$3\r\ninf\r\n", b",inf\r\n"),
        (math.inf, b"$3\r\ninf\r\n", b",inf\r\n"),
        (-math.inf, b"$4\r\n-inf\r\n", b",-inf\r\n"),
        (math.nan, b"$3\r\nnan\r\n", b",nan\r\n"),
        ([], b"*0\r\n", b"*0\r\n"),
        ({}, b"*0\r\n", b"%0\r\n"),
        (set(), b"*0\r\n", b"~0\r\n"),
        ({b"a": 1}, b"*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        ({b"a"}, b"*1\r\n$1\r\na\r\n", b"~1\r\n$1\r\na\r\n"),
        (
            Pairs([(b"a", 1), (b"b", None)]),
            b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n$-1\r\n",
            b"*2\r\n*2\r\n$1\r\na\r\n:1\r\n*2\r\n$1\r\nb\r\n_\r\n",
        ),
        (PairMap({b"a": 1}), b"*1\r\n*2\r\n$1\r\na\r\n:1\r\n", b"%1\r\n$1\r\na\r\n:1\r\n"),
        (Verbatim(b"text"), b"$4\r\ntext\r\n", b"=8\r\ntxt:text\r\n"),
        (Verbatim(b"# t", "mkd"), b"$3\r\n# t\r\n", b"=7\r\nmkd:# t\r\n"),
        (
            Push([b"message", b"c", b"hi"]),
            b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n",
            b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n",
        ),
        (
            [OK, CommandError("ERR no"), [NIL_ARRAY, []], b"x"],
            b"*4\r\n+OK\r\n-ERR no\r\n*2\r\n*-1\r\n*0\r\n$1\r\nx\r\n",
            b"*4\r\n+OK\r\n-ERR no\r\n*2\r\n_\r\n*0\r\n$1\r\nx\r\n",
        ),
    ],
    ids=repr,
)
def test_the_form_of_each_value(value: object, resp2: bytes, resp3: bytes) -> None:
    assert wire2(value) == resp2
    assert wire3(value) == resp3


@given(texts | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_a_text_cannot_begin_another_reply(text: str) -> None:
    """CVE-2025-67733."""
    for value in (text, CommandError("ERR " + text), [CommandError("ERR " + text), 1]):
        for wire in (wire2(value), wire3(value)):
            lines = wire.split(b"\r\n")
            assert len(lines) == (4 if isinstance(value, list) else 2)
            assert all(b"\r" not in line and b"\n" not in line for line in lines)


def test_an_error_keeps_its_bytes() -> None:
    text = b"ERR unknown command '\xff\xc3\xa9'"
    assert wire2(CommandError(text.decode("utf-8", "surrogateescape"))) == b"-%b\r\n" % text
    assert wire2(CommandError("ERR trailing\r\n")) == b"-ERR trailing\r\n"


def test_subclasses_are_what_they_extend() -> None:
    class Count(int): ...

    class Name(str): ...

    class Rows(list[int]): ...

    assert wire2(Count(5)) == wire3(Count(5)) == b":5\r\n"
    assert wire2(Name("OK")) == b"+OK\r\n"
    assert wire3(Rows([1])) == b"*1\r\n:1\r\n"


def test_what_is_no_reply_is_refused() -> None:
    for value in (object(), [b"a", object()], bytearray(b"x")):
        with pytest.raises(TypeError, match="no type of reply"):
            wire2(value)
        with pytest.raises(TypeError, match="no type of reply"):
            wire3(value)


def test_values_without_the_protocol() -> None:
    assert plain(NIL_ARRAY) is None
    assert plain([1]) == [1]
    assert not NIL_ARRAY
    assert Verbatim(b"x") == b"x"
    assert Push([b"x"]) == [b"x"]


# Requests of ours ----------------------------------------------------------------------------


def packed(args: Iterable[bytes | str | int | float]) -> bytes:
    """What redis-py sends."""
    return bytes(hiredis.pack_command(tuple(args)))  # type: ignore[arg-type]


@given(requests)
def test_pack_is_what_clients_send(args: list[bytes]) -> None:
    assert pack(args) == packed(args) == wire2(args)
    assert Parser().feed(pack(args)) == [args]


@given(st.lists(texts | st.integers() | doubles, min_size=1))
def test_pack_writes_text_and_numbers_as_clients_do(args: list[str | int | float]) -> None:
    assert pack(args) == packed(args)


@pytest.mark.parametrize("arg", [None, True, [b"x"], object()])
def test_pack_refuses_what_has_no_form(arg: object) -> None:
    with pytest.raises(TypeError, match="an argument is bytes, str, int or float"):
        pack([b"SET", arg])  # type: ignore[list-item]


def test_a_long_stream_in_chunks_as_sockets_give_them() -> None:
    one = [[b"SET", b"key:%d" % n, b"v" * (n * 37 % 3000)] for n in range(2000)]
    wire = b"".join(map(multibulk, one))
    for size in (16_384, 65_536, 262_144, len(wire)):
        assert feed_all(Parser(), cut(wire, [size])) == one
