"""What random sequences of commands are made of: a table of shapes for each family.

    STRINGS = [
        shape("GET", KEY),
        shape("SET", KEY, VALUE, maybe("NX", "XX"), maybe("GET")),
        shape("TTL", KEY, mode="approx"),
        ...
    ]

Alphabets are small, so that commands meet each other's keys and members, and so that a failure
shrinks to a few of them. What chooses at random (SPOP, SRANDMEMBER) has no place here.
"""

from __future__ import annotations

from typing import Any, Final

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.scripts import Mode, Step

Words = tuple[bytes, ...]


@attrs.frozen
class Shape:
    """A kind of command: the steps that it may be, and how their replies compare."""

    steps: SearchStrategy[Step]
    mode: Mode


def shape(*parts: str | SearchStrategy[Any], mode: Mode = "exact") -> Shape:
    """A command of these parts: text (several words, if it has spaces) and strategies.

    A strategy gives one argument (bytes) or several (a tuple, also empty).
    """
    strategies = [
        st.just(tuple(part.encode().split())) if isinstance(part, str) else part for part in parts
    ]
    return Shape(st.tuples(*strategies).map(lambda drawn: Step(_flat(drawn), mode)), mode)


def _flat(drawn: tuple[bytes | Words, ...]) -> Words:
    argv: list[bytes] = []
    for part in drawn:
        argv += part if isinstance(part, tuple) else (part,)
    return tuple(argv)


def maybe(*options: str | SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Nothing, or one of these (text may be several words)."""
    return st.one_of(
        st.just(()),
        *(
            st.just(tuple(option.encode().split())) if isinstance(option, str) else option
            for option in options
        ),
    )


def some(*parts: SearchStrategy[Any], least: int = 1, most: int = 3) -> SearchStrategy[Words]:
    """The parts in turn, so many times over: ``some(FIELD, VALUE)`` for HSET."""
    return st.lists(st.tuples(*parts).map(_flat), min_size=least, max_size=most).map(
        lambda rows: _flat(tuple(rows))
    )


def words(*choices: str | bytes) -> SearchStrategy[bytes]:
    """One of these, as one argument each. The first is what a failure shrinks to."""
    return st.sampled_from(
        [choice.encode() if isinstance(choice, str) else choice for choice in choices]
    )


KEY: Final = words("a", "b", "c", "d")
FIELD: Final = words("f", "g", "1", "", "long" * 20)  # of hashes, and members of sets
VALUE: Final = words("", "1", "x", "-7", "10.5", "0", "text", b"\x00\xff", "long" * 20)
INTEGER: Final = words(
    "0", "1", "-1", "2", "10", "-9223372036854775808", "9223372036854775807", "x"
)
INDEX: Final = words("0", "-1", "1", "2", "-2", "5", "-100", "100")
COUNT: Final = words("1", "0", "2", "-1", "-2", "100")
NUMBER: Final = words("1", "-1", "0", "2.5", "1e3", "0.1", "inf", "-inf", "nan", "x")
# Times so far off that their keys outlive the test, or so long ago that they do not live at all.
SECONDS: Final = words("1000", "5000", "-1", "0", "x")
UNIX_SECONDS: Final = words("4102444800", "4202444800", "1")
PATTERN: Final = words("*", "a*", "[ab]", "?", "b", "nothing*")
DATABASE: Final = words("0", "1", "16", "x")

KEYS: Final = [
    shape("DEL", some(KEY)),
    shape("UNLINK", some(KEY)),
    shape("EXISTS", some(KEY)),
    shape("TOUCH", some(KEY)),
    shape("TYPE", KEY),
    shape("KEYS", PATTERN, mode="unordered"),
    shape("SCAN 0 COUNT 1000", maybe("MATCH a*", "TYPE string", "TYPE list"), mode="unordered"),
    shape("RENAME", KEY, KEY),
    shape("RENAMENX", KEY, KEY),
    shape("COPY", KEY, KEY, maybe("DB 1", "DB 0"), maybe("REPLACE")),
    shape("MOVE", KEY, DATABASE),
    shape("SELECT", DATABASE),
    shape("SWAPDB 0 1"),
    shape("DBSIZE"),
    shape("FLUSHDB"),
    shape("EXPIRE", KEY, SECONDS, maybe("NX", "XX", "GT", "LT")),
    shape("PEXPIREAT", KEY, UNIX_SECONDS.map(lambda s: s + b"000"), maybe("NX", "XX", "GT", "LT")),
    shape("EXPIREAT", KEY, UNIX_SECONDS),
    shape("PERSIST", KEY),
    shape("TTL", KEY, mode="approx"),
    shape("PEXPIRETIME", KEY, mode="approx"),
    shape("OBJECT ENCODING", KEY, mode="any"),
    shape("DEBUG DIGEST-VALUE", some(KEY)),
    shape("SORT", KEY, maybe("ALPHA"), maybe("DESC"), maybe("LIMIT 0 2")),
    shape("SORT", KEY, maybe("BY *"), maybe("GET #"), maybe("GET *"), "STORE", KEY),
]

STRINGS: Final = [
    shape("GET", KEY),
    shape("SET", KEY, VALUE),
    shape(
        "SET",
        KEY,
        VALUE,
        maybe("NX", "XX"),
        maybe("GET"),
        maybe("KEEPTTL", st.tuples(words("EX"), SECONDS), st.tuples(words("EXAT"), UNIX_SECONDS)),
    ),
    shape("SETNX", KEY, VALUE),
    shape("SETEX", KEY, SECONDS, VALUE),
    shape("GETSET", KEY, VALUE),
    shape("GETDEL", KEY),
    shape("GETEX", KEY, maybe("PERSIST", st.tuples(words("EXAT"), UNIX_SECONDS))),
    shape("APPEND", KEY, VALUE),
    shape("STRLEN", KEY),
    shape("SETRANGE", KEY, words("0", "1", "5", "-1"), VALUE),
    shape("GETRANGE", KEY, INDEX, INDEX),
    shape("INCR", KEY),
    shape("DECRBY", KEY, INTEGER),
    shape("INCRBYFLOAT", KEY, NUMBER),
    shape("MSET", some(KEY, VALUE)),
    shape("MSETNX", some(KEY, VALUE)),
    shape("MGET", some(KEY)),
    shape("LCS", KEY, KEY, maybe("LEN", "IDX", "IDX WITHMATCHLEN")),
    shape("DUMP", words("string")),
]

TRANSACTIONS: Final = [
    shape("MULTI"),
    shape("EXEC"),
    shape("DISCARD"),
    shape("WATCH", some(KEY)),
    shape("UNWATCH"),
    shape("NOSUCHCOMMAND"),
    shape("GET"),
]

SIDE: Final = words("LEFT", "RIGHT", "left", "UP")

LISTS: Final = [
    shape("RPUSH", KEY, some(VALUE)),
    shape("LPUSH", KEY, some(VALUE)),
    shape("RPUSH", KEY, some(VALUE, most=20)),
    shape(words("LPUSHX", "RPUSHX"), KEY, some(VALUE)),
    shape(words("LPOP", "RPOP"), KEY, maybe(COUNT)),
    shape("LLEN", KEY),
    shape("LINDEX", KEY, INDEX),
    shape("LSET", KEY, INDEX, VALUE),
    shape("LRANGE", KEY, INDEX, INDEX),
    shape("LTRIM", KEY, INDEX, INDEX),
    shape("LINSERT", KEY, words("BEFORE", "AFTER", "x"), VALUE, VALUE),
    shape("LREM", KEY, COUNT, VALUE),
    shape(
        "LPOS",
        KEY,
        VALUE,
        maybe(st.tuples(words("RANK"), COUNT)),
        maybe(st.tuples(words("COUNT"), COUNT)),
        maybe(st.tuples(words("MAXLEN"), COUNT)),
    ),
    shape("LMOVE", KEY, KEY, SIDE, SIDE),
    shape("RPOPLPUSH", KEY, KEY),
    shape("LMPOP 1", KEY, SIDE, maybe(st.tuples(words("COUNT"), COUNT))),
    shape("LMPOP 2", KEY, KEY, SIDE, maybe(st.tuples(words("COUNT"), COUNT))),
]

SETS: Final = [
    shape("SADD", KEY, some(FIELD)),
    shape("SADD", KEY, some(INTEGER)),
    shape("SREM", KEY, some(FIELD)),
    shape("SISMEMBER", KEY, FIELD),
    shape("SMISMEMBER", KEY, some(FIELD)),
    shape("SCARD", KEY),
    shape("SMEMBERS", KEY, mode="unordered"),
    shape("SPOP", KEY, words("100", "0", "-1"), mode="unordered"),
    shape("SRANDMEMBER", KEY, words("100", "0"), mode="unordered"),
    shape("SMOVE", KEY, KEY, FIELD),
    shape(words("SINTER", "SUNION", "SDIFF"), some(KEY), mode="unordered"),
    shape(words("SINTERSTORE", "SUNIONSTORE", "SDIFFSTORE"), KEY, some(KEY)),
    shape("SINTERCARD 2", KEY, KEY, maybe(st.tuples(words("LIMIT"), COUNT))),
    shape("SSCAN", KEY, "0", maybe("MATCH ?", "COUNT 1000"), mode="unordered"),
]

HASHES: Final = [
    shape(words("HSET", "HMSET"), KEY, some(FIELD, VALUE)),
    shape("HSETNX", KEY, FIELD, VALUE),
    shape("HGET", KEY, FIELD),
    shape("HMGET", KEY, some(FIELD)),
    shape("HGETALL", KEY, mode="unordered"),
    shape(words("HKEYS", "HVALS"), KEY, mode="unordered"),
    shape("HDEL", KEY, some(FIELD)),
    shape("HLEN", KEY),
    shape(words("HEXISTS", "HSTRLEN"), KEY, FIELD),
    shape("HINCRBY", KEY, FIELD, INTEGER),
    shape("HINCRBYFLOAT", KEY, FIELD, NUMBER),
    shape("HRANDFIELD", KEY, words("100", "0"), maybe("WITHVALUES"), mode="unordered"),
    shape("HSCAN", KEY, "0", maybe("MATCH ?", "COUNT 1000"), mode="unordered"),
]

SCORE: Final = words("0", "1", "-1", "2.5", "1e3", "(1", "inf", "-inf", "nan", "x")
AGGREGATION: Final = maybe("AGGREGATE MIN", "AGGREGATE MAX", "WEIGHTS 2 0.5")

ZSETS: Final = [
    shape("ZADD", KEY, some(NUMBER, FIELD)),
    shape("ZADD", KEY, words("0"), FIELD),
    shape("ZADD", KEY, maybe("NX", "XX", "GT", "LT"), maybe("CH"), some(NUMBER, FIELD)),
    shape("ZADD", KEY, maybe("NX", "XX"), "INCR", NUMBER, FIELD),
    shape("ZINCRBY", KEY, NUMBER, FIELD),
    shape("ZREM", KEY, some(FIELD)),
    shape("ZCARD", KEY),
    shape("ZSCORE", KEY, FIELD),
    shape("ZMSCORE", KEY, some(FIELD)),
    shape(words("ZRANK", "ZREVRANK"), KEY, FIELD),
    shape(words("ZPOPMIN", "ZPOPMAX"), KEY, maybe(COUNT)),
    shape("ZMPOP 1", KEY, words("MIN", "MAX"), maybe(st.tuples(words("COUNT"), COUNT))),
    shape(words("ZRANGE", "ZREVRANGE"), KEY, INDEX, INDEX, maybe("WITHSCORES")),
    shape("ZRANGE", KEY, SCORE, SCORE, "BYSCORE", maybe("REV"), maybe("LIMIT 1 2")),
    shape(words("ZRANGEBYSCORE", "ZREVRANGEBYSCORE"), KEY, SCORE, SCORE, maybe("WITHSCORES")),
    shape("ZRANGESTORE", KEY, KEY, INDEX, INDEX, maybe("REV")),
    shape("ZCOUNT", KEY, SCORE, SCORE),
    shape("ZREMRANGEBYRANK", KEY, INDEX, INDEX),
    shape("ZREMRANGEBYSCORE", KEY, SCORE, SCORE),
    shape(words("ZUNION 2", "ZINTER 2"), KEY, KEY, AGGREGATION, maybe("WITHSCORES")),
    shape("ZDIFF 2", KEY, KEY, maybe("WITHSCORES")),
    shape(words("ZUNIONSTORE", "ZINTERSTORE"), KEY, "2", KEY, KEY, AGGREGATION),
    shape("ZDIFFSTORE", KEY, "2", KEY, KEY),
    shape("ZINTERCARD 2", KEY, KEY, maybe(st.tuples(words("LIMIT"), COUNT))),
    shape("ZRANDMEMBER", KEY, words("100", "0"), mode="unordered"),
    shape("ZSCAN", KEY, "0", maybe("MATCH ?", "COUNT 1000"), mode="unordered"),
]

POOL: Final[dict[str, list[Shape]]] = {
    "keys": KEYS,
    "strings": STRINGS,
    "lists": LISTS,
    "sets": SETS,
    "zsets": ZSETS,
    "hashes": HASHES,
    "transactions": TRANSACTIONS,
}
