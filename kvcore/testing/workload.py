"""Commands for the kit: a sample of every type and encoding, and random but repeatable commits."""

from __future__ import annotations

import random
from hashlib import sha1
from typing import Final

from kvcore import digest
from kvcore.keyspace import Keyspace

Argv = list[bytes]

FAR: Final = 4_102_444_800_000  # the year 2100 in Unix milliseconds: no test lives to see it
DATABASES: Final = 2  # that random commits use

_WIDE: Final = b"x" * 65  # longer than any compact encoding takes


def _numbered(name: str, key: str, prefix: bytes, count: int, pair: bytes = b"") -> Argv:
    argv = [name.encode(), key.encode()]
    for i in range(count):
        argv += [prefix + b"%d" % i] if not pair else [pair % i, prefix + b"%d" % i]
    return argv


def _noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


SAMPLES: Final[list[tuple[str, str, list[Argv]]]] = [
    ("empty string", "embstr", [[b"SET", b"k", b""]]),
    ("integer", "int", [[b"SET", b"k", b"-9223372036854775808"]]),
    ("short string", "embstr", [[b"SET", b"k", b"\x00\r\n\xff*1\r\n$"]]),
    ("long string", "raw", [[b"SET", b"k", b"abc" * 500_000]]),
    ("incompressible string", "raw", [[b"SET", b"k", _noise(70_000)]]),
    ("string that grew", "raw", [[b"SET", b"k", b"1"], [b"APPEND", b"k", b"2"]]),
    ("float", "embstr", [[b"SET", b"k", b"10"], [b"INCRBYFLOAT", b"k", b"0.1"]]),
    ("short list", "listpack", [_numbered("RPUSH", "k", b"item", 20)]),
    ("long list", "quicklist", [_numbered("RPUSH", "k", b"item" * 20, 500)]),
    ("list of a large item", "quicklist", [[b"RPUSH", b"k", b"a", _noise(20_000), b"b"]]),
    ("set of integers", "intset", [[b"SADD", b"k", b"1", b"-70000", b"5000000000"]]),
    ("large set of integers", "hashtable", [_numbered("SADD", "k", b"", 600)]),
    ("set of words", "hashtable", [_numbered("SADD", "k", b"word", 200)]),
    ("set of wide words", "hashtable", [[b"SADD", b"k", _WIDE, b"\xff\x00", b""]]),
    ("short hash", "listpack", [[b"HSET", b"k", b"f", b"v", b"", b"", b"n", b"-1"]]),
    ("long hash", "hashtable", [_numbered("HSET", "k", b"value", 600, b"field%d")]),
    ("hash of a wide value", "hashtable", [[b"HSET", b"k", b"f", _WIDE]]),
    ("short sorted set", "listpack", [[b"ZADD", b"k", b"1.5", b"a", b"-inf", b"", b"3", b"c"]]),
    ("long sorted set", "skiplist", [_numbered("ZADD", "k", b"member", 200, b"%d.25")]),
    ("sorted set of wide members", "skiplist", [[b"ZADD", b"k", b"inf", _WIDE, b"1e-300", b"b"]]),
]
"""(what it is, its OBJECT ENCODING, the commands that make it under the key ``k``)."""

_COMMON: Final = """
SET {string} {text}
SET {string} {text} PXAT {far}
SET {string} {text} KEEPTTL
SETRANGE {string} 3 {text}
APPEND {string} {text}
GETSET {string} {text}
GETDEL {string}
GETEX {string} PERSIST
MSET {string} {text} {counter} {number}
INCRBY {counter} {number}
DECR {counter}
INCRBYFLOAT {float} 0.25
SETBIT {string} 7 1
RPUSH {list} {text} {word}
LPUSH {list} {text}
LPOP {list}
RPOP {list}
LSET {list} 0 {text}
LINSERT {list} BEFORE {word} {text}
LREM {list} 1 {word}
LTRIM {list} 0 8
LMOVE {list} {list} LEFT RIGHT
SADD {set} {word} {number}
SADD {ints} {number} {number}
SREM {set} {word}
SPOP {set}
SPOP {ints} 2
SMOVE {set} {set} {word}
SINTERSTORE {set} {set} {set}
SUNIONSTORE {set} {set} {ints}
HSET {hash} {word} {text} {word} {number}
HDEL {hash} {word}
HINCRBY {hash} count {number}
HINCRBYFLOAT {hash} float 0.5
ZADD {zset} {number} {word} {number} {word}
ZINCRBY {zset} {number} {word}
ZREM {zset} {word}
ZPOPMIN {zset}
ZREMRANGEBYRANK {zset} 6 -1
ZUNIONSTORE {zset} 2 {zset} {set}
SORT {list} ALPHA STORE {list}
DEL {any}
UNLINK {any} {any}
RENAME {any} {any}
COPY {any} {any} REPLACE
MOVE {any} {other}
PEXPIREAT {any} {far}
PERSIST {any}
"""
_RARE: Final = """
FLUSHDB
FLUSHALL
SWAPDB 0 1
"""
_KEYS: Final = {
    "string": (b"s1", b"s2", b"\x00\xff\r\n"),
    "counter": (b"c1", b"c2"),
    "float": (b"f1",),
    "list": (b"l1", b"l2"),
    "set": (b"t1", b"t2"),
    "ints": (b"i1",),
    "hash": (b"h1", b"h2"),
    "zset": (b"z1", b"z2"),
}
_ANY: Final = tuple(key for keys in _KEYS.values() for key in keys)
_WORDS: Final = (b"red", b"green", b"blue", b"", b"\xff\x00\n")


class Commit:
    """One commit: a command, or a transaction of several, in database ``db``."""

    def __init__(self, db: int, commands: list[Argv]) -> None:
        self.db = db
        self.commands = commands


class Workload:
    """Random commits over a few keys of every type; the same ``seed`` gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._common = [line.split() for line in _COMMON.split("\n") if line]
        self._rare = [line.split() for line in _RARE.split("\n") if line]

    def commit(self) -> Commit:
        chance = self._chance
        db = chance.randrange(DATABASES)
        count = chance.choice((1, 1, 1, 2, 3, 6))
        return Commit(db, [self._command(db) for _ in range(count)])

    def _command(self, db: int) -> Argv:
        chance = self._chance
        words = chance.choice(self._rare if chance.random() < 0.01 else self._common)
        return [self._draw(word[1:-1], db) if word[0] == "{" else word.encode() for word in words]

    def _draw(self, what: str, db: int) -> bytes:
        chance = self._chance
        if what == "text":
            size = chance.choice((0, 1, 3, 20, 60, 600))
            return chance.choice((b"text\r\n", b"\x00\xfe", b"9", b"*$+-:")) * size
        if what == "number":
            return b"%d" % chance.choice((0, 1, -1, 77, 40_000, -(1 << 40)))
        if what == "word":
            return chance.choice(_WORDS)
        if what == "far":
            return b"%d" % (FAR + chance.randrange(1000))
        if what == "other":
            return b"%d" % (1 - db)
        return chance.choice(_KEYS.get(what, _ANY))


def fingerprint(keyspace: Keyspace) -> str:
    """Equal if and only if two keyspaces hold the same: values, databases, expiry in ms."""
    expiries = sorted(
        (db.index, key, db.expiry(key)) for db, key, _ in keyspace.walk() if db.expires.has(key)
    )
    return sha1(digest.of_keyspace(keyspace) + repr(expiries).encode()).hexdigest()
