"""kvcore.resp beside a real redis-server: the same requests, the same errors, the same bytes."""

from __future__ import annotations

import math
import re
import socket
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvcore.codec.output import Output
from kvcore.errors import WRONG_TYPE, CommandError
from kvcore.reply import NIL_ARRAY, OK, QUEUED, LongDouble, PairMap, Pairs, Push, Verbatim
from kvcore.resp import Parser, encode2, encode3, pack
from tests.support import RedisServer, start_redis


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    directory = tmp_path_factory.mktemp("guarded")
    with start_redis(directory, "--requirepass", "secret") as server:
        yield server


def converse(server: RedisServer, stream: bytes) -> bytes:
    """All that the server answers to these bytes, after which we close our side."""
    answer = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(server.socket)
        connection.sendall(stream)
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            answer += data
    return answer


# Requests ------------------------------------------------------------------------------------


def check(server: RedisServer, stream: bytes, authenticated: bool = True) -> str | None:
    """Redis answers this stream as it answers the requests that we read in it, in plain form,
    and then with the error that we found. Returns the error."""
    parser = Parser()
    parser.authenticated = authenticated
    requests = parser.feed(stream)
    expected = converse(server, b"".join(map(pack, requests)))
    if parser.error is not None:
        expected += b"-ERR %b\r\n" % parser.error.encode()
    assert readable(converse(server, stream)) == expected
    return parser.error


def readable(answer: bytes) -> bytes:
    """Redis quotes any byte but CR and LF as it came; we write a space for what cannot be seen."""
    return re.sub(rb"(expected '\$', got ')[^ -~]('\r\n)\Z", rb"\1 \2", answer)


VIOLATIONS = [
    b"*1\r\n:5\r\n",
    b"*1\r\nPING\r\n",
    b"*1\r\n\r\n",
    b"*1\r\n\n\r\n",
    b"*1\r\n\x01\r\n",
    b"*1\r\n\x1b\r\n",
    b"*1\r\n\xff\r\n",
    b"*2\r\n$4\r\nECHO\r\n*1\r\n",
    b"*2\r\n$4\r\nECHO\r\n$-1\r\n",
    b"*1\r\n$\r\n",
    b"*1\r\n$4 \r\nPING\r\n",
    b"*1\r\n$ 4\r\nPING\r\n",
    b"*1\r\n$+4\r\nPING\r\n",
    b"*1\r\n$04\r\nPING\r\n",
    b"*1\r\n$4.0\r\nPING\r\n",
    b"*1\r\n$0x4\r\nPING\r\n",
    b"*1\r\n$1_0\r\nPING\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$9223372036854775808\r\n",
    b"*1\r\n$99999999999999999999999999\r\n",
    b"*\r\n",
    b"*x\r\n",
    b"*01\r\n",
    b"*-0\r\n",
    b"*--1\r\n",
    b"*-01\r\n",
    b"*-9223372036854775809\r\n",
    b"*2147483648\r\n",
    b"*9223372036854775807\r\n",
    b"*99999999999999999999999999\r\n",
    b"*1\n$4\nPING\n\r\n",
    b'ECHO "a\r\n',
    b'ECHO "a"b\r\n',
    b"ECHO 'a\r\n",
    b"ECHO 'a'b\r\n",
    b"x" * 65537,
    b"*" + b"1" * 65536,
    b"*1\r\n$" + b"1" * 65536,
]


@pytest.mark.parametrize("stream", VIOLATIONS, ids=lambda stream: repr(stream[:40]))
def test_violations_are_named_as_redis_names_them(oracle: RedisServer, stream: bytes) -> None:
    assert check(oracle, b"PING\r\n" + stream) is not None


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\r\n\n \r\n\t\nPING\r\n",
        b"*0\r\n*-1\r\n*-5\r\n*-9223372036854775808\r\nPING\r\n",
        b"*1\r\n$0\r\n\r\nPING\r\n",
        b"*1\rX$4\rXPINGZZPING\r\n",
        b"PING\n*1\r\n$4\r\nPING\r\nPING\r\n",
        b"\rPING\r\r\n",
        b'ECHO "a\\x00\\n\\"b"\r\nECHO \'a\\\'b\'\r\nECHO a"b c"\r\nECHO ""\r\n',
        b"*2147483647\r\n$4\r\nPING\r\n",
        b"*1\r\n$536870912\r\nPING\r\n",
        b"*1\r\n$4\r\nPIN",
        b"*1\r\n:",
        b"*1\r\n$4\r",
        b"PING",
        b"x" * 65535 + b"\n",
        b"*1" * 30_000,
    ],
    ids=lambda stream: repr(stream[:40]),
)
def test_what_redis_accepts_or_waits_for_is_no_violation(
    oracle: RedisServer, stream: bytes
) -> None:
    assert check(oracle, stream) is None


@pytest.mark.parametrize(
    "stream",
    [
        b"*11\r\n",
        b"*1\r\n$16385\r\n",
        b"*2\r\n$4\r\nAUTH\r\n$16385\r\n",
        b"*2147483648\r\n",
        b"*1\r\n$536870913\r\n",
    ],
)
def test_violations_before_auth(guarded: RedisServer, stream: bytes) -> None:
    assert check(guarded, stream, authenticated=False) is not None


@pytest.mark.parametrize(
    "stream",
    [
        pack([b"PING"] + [b"x"] * 9),
        pack([b"ECHO", b"x" * 16384]),
        b"*10\r\n$16384\r\n",
    ],
    ids=lambda stream: repr(stream[:20]),
)
def test_what_redis_accepts_before_auth(guarded: RedisServer, stream: bytes) -> None:
    assert check(guarded, stream, authenticated=False) is None


def test_inline_requests_before_auth_have_only_the_limit_of_a_line(guarded: RedisServer) -> None:
    stream = b"PING " + b"x " * 30_000 + b"\r\n"
    assert converse(guarded, stream) == b"-NOAUTH Authentication required.\r\n"
    parser = Parser()
    parser.authenticated = False
    assert parser.feed(stream) == [[b"PING"] + [b"x"] * 30_000]


# A script that answers its arguments shows how Redis read them.
ECHO = [b"EVAL", b"return ARGV", b"0"]
chars = st.binary(max_size=12).map(lambda raw: raw.replace(b"\0", b"\r\n"))
requests = st.one_of(
    st.lists(chars, max_size=4).map(lambda args: pack(ECHO + args)),
    st.lists(st.sampled_from(["a", '"b c"', "'d'", r'"\x41\n"']), max_size=3).map(
        lambda words: f"EVAL 'return ARGV' 0 {' '.join(words)}\r\n".encode()
    ),
    st.sampled_from([b"*0\r\n", b"*-1\r\n", b"\r\n", b"PING\n"]),
)
# Where (as a fraction of the stream), how many bytes go, what comes instead. Redis takes a zero
# byte in a line for its end, and waits for ever: none here.
edits = st.tuples(
    st.floats(0, 1),
    st.integers(0, 3),
    st.sampled_from([*(b"%c" % c for c in b"*$:+-0129 \"'\r\n\xff"), b"", b"\r\n"]),
)


@given(st.lists(requests, min_size=1, max_size=4).map(b"".join), st.lists(edits, max_size=3))
@example(b"*1\r\n$4\r\nPING\r\n", [(0.3, 1, b"$")])
@settings(max_examples=300)
def test_damaged_streams_are_read_as_redis_reads_them(
    oracle: RedisServer, stream: bytes, edits: list[tuple[float, int, bytes]]
) -> None:
    for where, gone, new in edits:
        at = int(where * len(stream))
        stream = stream[:at] + new + stream[at + gone :]
    check(oracle, stream)


# Replies -------------------------------------------------------------------------------------

SETUP: list[list[bytes | str | int | float]] = [
    ["SET", "s", b"v\r\n\x00"],
    ["SET", "long", b"x" * 5000],
    ["RPUSH", "l", "a", "", "c"],
    ["RPUSH", "l600", *range(600)],
    ["SADD", "one", "m"],
    ["HSET", "h", "f", "1", "g", "2"],
    ["ZADD", "z", "-inf", "low", 0.1, "a", 3, "b", 1e20, "c", 1e-7, "d", "inf", "top"],
    ["XADD", "x", "1-1", "f", "v"],
    ["GEOADD", "g", 13.361389, 38.115556, "a", 2.5, 3, "b"],
]

# A command and the value that ours will return for it.
REPLIES: list[tuple[list[bytes | str | int | float], object]] = [
    (["SET", "other", "1"], OK),
    (["PING"], "PONG"),
    (["TYPE", "z"], "zset"),
    (["PING", "text"], b"text"),
    (["GET", "s"], b"v\r\n\x00"),
    (["GET", "long"], b"x" * 5000),
    (["GET", "none"], None),
    (["LLEN", "l600"], 600),
    (["TTL", "s"], -1),
    (["STRLEN", "long"], 5000),
    (["LRANGE", "l", 0, -1], [b"a", b"", b"c"]),
    (["LRANGE", "l600", 0, -1], [b"%d" % n for n in range(600)]),
    (["LRANGE", "none", 0, -1], []),
    (["MGET", "none", "s"], [None, b"v\r\n\x00"]),
    (["LPOP", "none", 2], NIL_ARRAY),
    (["SMEMBERS", "one"], {b"m"}),
    (["SMEMBERS", "none"], set()),
    (["HGETALL", "h"], {b"f": b"1", b"g": b"2"}),
    (["HGETALL", "none"], {}),
    (["CONFIG", "GET", "databases"], {b"databases": b"16"}),
    (["HRANDFIELD", "none", 2, "WITHVALUES"], Pairs()),
    (["ZSCORE", "z", "a"], 0.1),
    (["ZSCORE", "z", "b"], 3.0),
    (["ZSCORE", "z", "c"], 1e20),
    (["ZSCORE", "z", "d"], 1e-7),
    (["ZSCORE", "z", "low"], -math.inf),
    (["ZSCORE", "z", "top"], math.inf),
    (["ZMSCORE", "z", "a", "none"], [0.1, None]),
    (["ZRANGE", "z", 1, 2, "WITHSCORES"], Pairs([(b"d", 1e-7), (b"a", 0.1)])),
    (["ZRANGE", "none", 1, 2, "WITHSCORES"], Pairs()),
    (["ZADD", "z", "INCR", "NX", 1, "a"], None),
    (["XRANGE", "x", "-", "+"], [[b"1-1", [b"f", b"v"]]]),
    (["XREAD", "STREAMS", "x", 0], PairMap({b"x": [[b"1-1", [b"f", b"v"]]]})),
    (["XREAD", "STREAMS", "x", "$"], NIL_ARRAY),
    (["GEOPOS", "none", "m"], [NIL_ARRAY]),
    (
        ["GEOPOS", "g", "a", "b"],
        [
            [LongDouble(13.36138933897018433), LongDouble(38.11555639549629859)],
            [LongDouble(2.49999850988388062), LongDouble(3.00000091215010656)],
        ],
    ),
    (["GET"], CommandError("ERR wrong number of arguments for 'get' command")),
    (
        ["LLEN", "s"],
        CommandError(WRONG_TYPE),
    ),
    (["EVAL", "return {err='A b\\r\\n+c'}", 0], CommandError("A b\r\n+c")),
    (["EVAL", "return {ok='a\\r\\nb'}", 0], "a\r\nb"),
    (["EVAL", "redis.setresp(3); return {true, false, {double=0.1}}", 0], [True, False, 0.1]),
    (["EVAL", "redis.setresp(3); return {map={a=true}}", 0], {b"a": True}),
    (["EVAL", "redis.setresp(3); return {set={a=true}}", 0], {b"a"}),
    (["EVAL", "return {1, {2, {'x'}}, 'y', false}", 0], [1, [2, [b"x"]], b"y", None]),
    (["DEBUG", "PROTOCOL", "string"], b"Hello World"),
    (["DEBUG", "PROTOCOL", "integer"], 12345),
    (["DEBUG", "PROTOCOL", "double"], 3.141),
    (["DEBUG", "PROTOCOL", "null"], None),
    (["DEBUG", "PROTOCOL", "array"], [0, 1, 2]),
    (["DEBUG", "PROTOCOL", "set"], {0, 1, 2}),
    (["DEBUG", "PROTOCOL", "map"], {0: False, 1: True, 2: False}),
    (["DEBUG", "PROTOCOL", "verbatim"], Verbatim(b"This is a verbatim\nstring")),
    (["DEBUG", "PROTOCOL", "true"], True),
    (["DEBUG", "PROTOCOL", "false"], False),
]


@pytest.fixture
def filled(oracle: RedisServer) -> RedisServer:
    converse(oracle, b"".join(map(pack, SETUP)))
    return oracle


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(("args", "value"), REPLIES, ids=lambda part: repr(part)[:60])
def test_replies_are_the_bytes_of_redis(
    filled: RedisServer, args: list[bytes | str | int | float], value: object, protocol: int
) -> None:
    assert encoded(value, protocol) == asked(filled, [args], protocol)


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_transaction(filled: RedisServer, protocol: int) -> None:
    answer = asked(
        filled, [["MULTI"], ["GET", "s"], ["INCR", "s"], ["ZSCORE", "z", "b"], ["EXEC"]], protocol
    )
    error = CommandError("ERR value is not an integer or out of range")
    values = [OK, QUEUED, QUEUED, QUEUED, [b"v\r\n\x00", error, 3.0]]
    assert b"".join(encoded(value, protocol) for value in values) == answer


def test_a_message_of_a_channel(filled: RedisServer) -> None:
    """A subscriber of RESP3 may publish to itself."""
    answer = asked(filled, [["SUBSCRIBE", "c"], ["PUBLISH", "c", "hi"]], 3)
    confirmed, message = Push([b"subscribe", b"c", 1]), Push([b"message", b"c", b"hi"])
    assert answer == b"".join(encoded(value, 3) for value in (confirmed, message, 1))


def encoded(value: object, protocol: int) -> bytes:
    out = Output()
    (encode2 if protocol == 2 else encode3)(value, out)
    return b"".join(out.take())


def asked(
    server: RedisServer, commands: list[list[bytes | str | int | float]], protocol: int
) -> bytes:
    """What the server answers to these commands, after HELLO."""
    hello = pack(["HELLO", protocol]) + pack(["ECHO", "that was HELLO"])
    answer = converse(server, hello + b"".join(map(pack, commands)))
    return answer.partition(b"$14\r\nthat was HELLO\r\n")[2]
