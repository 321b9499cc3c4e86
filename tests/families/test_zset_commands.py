"""Sorted sets: what Redis answers, we answer; what it writes, we read; their effects are alike."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain
from math import inf
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kvcore
from kvcore.codec import listpack, ziplist
from kvcore.codec.crc64 import crc64
from kvcore.codec.rdb import Reader, Writer
from kvcore.command import Context
from kvcore.datatype import Limits
from kvcore.errors import CommandError, CorruptData
from kvcore.families.zsets.commands import zrank
from kvcore.families.zsets.rdb import TYPE
from kvcore.families.zsets.scores import spell_packed
from kvcore.families.zsets.value import ZSet
from kvcore.reply import NIL_ARRAY
from tests.families.effects import effects_of_kvcore, effects_of_redis
from tests.scripts import Compare, Step
from tests.support import RedisServer, start_redis

MANY = " ".join(f"{n % 50} member:{n}" for n in range(300))
SAME = " ".join(f"0 {chr(97 + n % 26)}{n}" for n in range(200))


@pytest.fixture
def store() -> Iterator[kvcore.Store]:
    with kvcore.open(enable_debug_command="yes") as store:
        yield store


# Scripts: members ---------------------------------------------------------------------------------


def test_adding_and_reading(compare: Compare) -> None:
    compare(r"""
        ZADD z 1 a
        ZADD z 2 b 3 c 1 a 5 a
        ZADD z 1.5 "" -inf "\x00\xff\r\n" +inf top 1e3 d 0x10 hex -0 zero
        ZCARD z
        ZCARD nokey
        ZSCORE z a
        ZSCORE z top
        ZSCORE z nomember
        ZSCORE nokey a
        ZMSCORE z a nomember "" a
        ZMSCORE nokey a b
        ZRANGE z 0 -1 WITHSCORES
        ZADD z 0.1 f 1e18 e18 1e19 e19 4611686018427387904 p62 -5e-324 tiny 3.0 whole
        ZRANGE z 0 -1 WITHSCORES
        ZSCORE z f
        ZRANK z a
        ZRANK z nomember
        ZRANK nokey a
        ZREVRANK z a
        ZREVRANK z nomember
        TYPE z
        ZADD z 1 x 2 x 3 x
        ZSCORE z x
        ZADD z CH 1 x 2 x 2 x
        """)


def test_options_of_zadd(compare: Compare) -> None:
    compare(r"""
        ZADD z XX 1 a
        ZADD z XX INCR 1 a
        EXISTS z
        ZADD z NX 1 a 2 b
        ZADD z NX 5 a 3 c
        ZADD z XX 7 a 8 new
        ZADD z XX CH 7 a 9 b 8 new
        ZADD z GT 1 a 10 b 1 d
        ZADD z GT CH 8 a 1 b
        ZADD z LT 100 a 2 b 1 e
        ZADD z LT CH 1 a 100 b
        ZADD z XX GT CH 50 a 50 nomember
        ZADD z xx lt ch 1 a 1 nomember
        ZADD z INCR 2.5 a
        ZADD z NX INCR 1 a
        ZADD z NX INCR 1 fresh
        ZADD z XX INCR 1 nomember
        ZADD z XX INCR 1 a
        ZADD z GT INCR -1 a
        ZADD z GT INCR 1 a
        ZADD z LT INCR 1 a
        ZADD z LT INCR -1 a
        ZADD z GT INCR 0 a
        ZADD z LT INCR 0 a
        ZADD z CH INCR 1 a
        ZADD z INCR inf a
        ZADD z INCR -inf a
        ZADD z INCR -0 zero
        ZADD z incr -0 zero
        ZINCRBY z 1.25 b
        ZINCRBY z -inf new
        ZINCRBY z +inf new
        ZINCRBY nokey 3 m
        ZINCRBY z 0 b
        ZRANGE z 0 -1 WITHSCORES
        """)


def test_negative_zero(compare: Compare) -> None:
    """A listpack keeps -0 as the integer 0; a skiplist keeps it as it is."""
    long = "x" * 65
    compare(f"""
        ZADD z -0 a
        ZSCORE z a
        ZADD z -0 a 5 b -0 b
        ZRANGE z 0 -1 WITHSCORES
        ZADD z -0 {long}
        ZRANGE z 0 -1 WITHSCORES
        ZADD z -0 a -0 c
        ZRANGE z 0 -1 WITHSCORES
        ZADD z 0 c
        ZSCORE z c
        ZREM z {long}
        OBJECT ENCODING z
        ZSCORE z c
        ZRANGESTORE narrow z 0 -1
        ZSCORE narrow c
        ZUNION 1 z WITHSCORES
        ZUNIONSTORE narrow 1 z
        ZSCORE narrow c
        OBJECT ENCODING narrow
        COPY z wide
        ZSCORE wide c
        ZSCAN wide 0 MATCH c
        """)


def test_removing(compare: Compare) -> None:
    compare(r"""
        ZADD z 1 a 2 b 3 c 4 d 5 e
        ZREM z a nomember a
        ZREM z nomember
        ZREM nokey a
        EXPIRE z 1000
        ZREM z b c d e
        EXISTS z
        ZADD z 1 a
        TTL z
        """)


def test_popping(compare: Compare) -> None:
    compare(rf"""
        ZADD z 1 a 2 b 3 c 4 d 5 e 6 f
        ZPOPMIN z
        ZPOPMAX z
        ZPOPMIN z 2
        ZPOPMAX z 1
        ZPOPMIN z 0
        ZPOPMAX z 100
        EXISTS z
        ZPOPMIN z
        ZPOPMAX z 3
        ZADD many {MANY}
        ZPOPMIN many 120
        ZPOPMAX many 120
        ZPOPMAX many 60
        EXISTS many
        ZADD x 1 a 2 b 3 c
        ZADD y 9 z
        ZMPOP 1 nokey MIN
        ZMPOP 3 nokey x y MIN
        ZMPOP 2 x y max COUNT 10
        ZMPOP 2 x y max COUNT 10
        ZMPOP 2 x y max COUNT 10
        EXISTS x y
        """)


def test_ranks(compare: Compare) -> None:
    compare(rf"""
        ZADD z {MANY}
        ZRANK z member:0
        ZRANK z member:299
        ZREVRANK z member:0
        ZREVRANK z member:123
        ZRANK z member:300
        ZADD z 17 member:0
        ZRANK z member:0
        ZREVRANK z member:299
        """)


def test_rank_with_score(store: kvcore.Store) -> None:
    """An option of Redis 7.2."""
    store.execute("ZADD", "z", 1, "a", 2.5, "b")
    assert store.execute("ZRANK", "z", "b", "WITHSCORE") == [1, 2.5]
    assert store.execute("ZREVRANK", "z", "b", "withscore") == [0, 2.5]
    context = Context(store.instance.keyspace)
    for key, member in ((b"z", b"nomember"), (b"nokey", b"b")):
        assert zrank(context, [b"ZRANK", key, member]) is None
        assert zrank(context, [b"ZRANK", key, member, b"WITHSCORE"]) is NIL_ARRAY
    with pytest.raises(CommandError, match="syntax error"):
        store.execute("ZRANK", "z", "b", "WITHSCORES")
    with pytest.raises(CommandError, match="wrong number of arguments for 'zrevrank' command"):
        store.execute("ZREVRANK", "z", "b", "WITHSCORE", "x")


# Scripts: ranges ----------------------------------------------------------------------------------


@pytest.mark.parametrize("members", ["1 a 2 b 3 c 4 d 5 e", MANY])
def test_ranges_of_ranks(compare: Compare, members: str) -> None:
    bounds = [(0, -1), (0, 0), (1, 3), (-3, -2), (3, 1), (-100, 2), (2, 1000), (-1, 0), (1000, -1)]
    lines = [f"ZADD z {members}"]
    for start, stop in bounds:
        lines += [
            f"ZRANGE z {start} {stop}",
            f"ZRANGE z {start} {stop} WITHSCORES",
            f"ZRANGE z {start} {stop} REV withscores",
            f"ZREVRANGE z {start} {stop}",
            f"ZREVRANGE z {start} {stop} WITHSCORES",
            f"ZRANGESTORE d z {start} {stop}",
            "ZRANGE d 0 -1 WITHSCORES",
            f"ZRANGESTORE d z {start} {stop} REV",
            f"ZREMRANGEBYRANK d {start} {stop}",
            "ZRANGE d 0 -1 WITHSCORES",
        ]
    compare("\n".join(lines))


@pytest.mark.parametrize("members", ["1 a 2 b 2 bb 3 c -inf low inf high", MANY])
def test_ranges_of_scores(compare: Compare, members: str) -> None:
    bounds = [
        "-inf +inf",
        "2 3",
        "(2 3",
        "2 (3",
        "(2 (3",
        "3 2",
        "(2 2",
        "2 2",
        "-INF (17",
        "1.5 1e2",
    ]
    lines = [f"ZADD z {members}"]
    for bound in bounds:
        low, high = bound.split()
        lines += [
            f"ZCOUNT z {low} {high}",
            f"ZRANGEBYSCORE z {low} {high}",
            f"ZRANGEBYSCORE z {low} {high} WITHSCORES LIMIT 1 2",
            f"ZREVRANGEBYSCORE z {high} {low} LIMIT 0 3 WITHSCORES",
            f"ZRANGE z {low} {high} BYSCORE LIMIT 2 -1",
            f"ZRANGE z {high} {low} BYSCORE REV WITHSCORES",
            f"ZRANGE z {high} {low} REV BYSCORE LIMIT 1 -5",
            f"ZRANGE z {low} {high} BYSCORE LIMIT -1 10",
            f"ZRANGE z {low} {high} BYSCORE LIMIT 0 0",
            f"ZRANGE z {low} {high} BYSCORE LIMIT 9223372036854775807 9223372036854775807",
            f"ZRANGESTORE d z {low} {high} BYSCORE LIMIT 1 2",
            "ZRANGE d 0 -1 WITHSCORES",
            f"ZRANGESTORE d z {high} {low} BYSCORE REV",
            f"ZREMRANGEBYSCORE d {low} {high}",
            "ZRANGE d 0 -1 WITHSCORES",
        ]
    compare("\n".join(lines))


@pytest.mark.parametrize("members", ["0 a 0 b 0 ba 0 c 0 d", '1 "" 1 a 1 "\\xff"', SAME])
def test_ranges_of_members(compare: Compare, members: str) -> None:
    bounds = [
        "- +",
        "[a [c",
        "(a [c",
        "[a (c",
        "(a (c",
        "[b [b",
        "(b [b",
        "[c [a",
        "+ -",
        "- -",
        "+ +",
    ]
    bounds += ["[ [a", "( [z", "- (b", "[ba +", "[aa (zz", "[+ [-", "[a100 [q42", "(a0 (z25"]
    lines = [f"ZADD z {members}"]
    for bound in bounds:
        low, high = bound.split()
        lines += [
            f"ZLEXCOUNT z {low} {high}",
            f"ZRANGEBYLEX z {low} {high}",
            f"ZRANGEBYLEX z {low} {high} LIMIT 1 2",
            f"ZREVRANGEBYLEX z {high} {low}",
            f"ZREVRANGEBYLEX z {high} {low} LIMIT 1 -1",
            f"ZRANGE z {low} {high} BYLEX LIMIT 0 3",
            f"ZRANGE z {high} {low} BYLEX REV",
            f"ZRANGE z {low} {high} BYLEX LIMIT -1 3",
            f"ZRANGESTORE d z {low} {high} BYLEX",
            "ZCARD d",
            "ZRANGESTORE d z - + BYLEX LIMIT 0 50",
            f"ZREMRANGEBYLEX d {low} {high}",
            "ZRANGE d 0 -1 WITHSCORES",
        ]
    compare("\n".join(lines))


def test_how_bounds_of_scores_are_read(compare: Compare) -> None:
    """C's strtod: what ZADD would not take as a score."""
    compare(r"""
        ZADD z 0 a 1 b 16 c inf d
        ZCOUNT z "" ""
        ZCOUNT z "(" 1
        ZCOUNT z " 1" 5
        ZCOUNT z "\t\n1" 5
        ZCOUNT z 1 "5 "
        ZCOUNT z " " 1
        ZCOUNT z "( 0" 1
        ZCOUNT z ((0 1
        ZCOUNT z 1e999 1e999
        ZCOUNT z -1e999 1e-999
        ZCOUNT z 0x10 (0x1p5
        ZCOUNT z 0x 1
        ZCOUNT z nan 1
        ZCOUNT z 1 -nan
        ZCOUNT z 1_0 1
        ZCOUNT z infinity +inf
        ZCOUNT z "1\x00x" 1
        ZCOUNT z "\x00" 1
        ZCOUNT z 1,5 2
        ZCOUNT z +1 .5e1
        ZCOUNT z 5. 1e
        """)


# Scripts: several sets ----------------------------------------------------------------------------


def test_several_sets(compare: Compare) -> None:
    compare(r"""
        ZADD a 1 x 2 y 3 z inf top
        ZADD b 10 y 20 z 30 w -inf top
        SADD s x y other
        ZUNION 2 a b
        ZUNION 2 a b WITHSCORES
        ZUNION 3 a b s WITHSCORES WEIGHTS 2 0.5 -3
        ZUNION 2 a b AGGREGATE MIN WITHSCORES
        ZUNION 2 a b aggregate max withscores
        ZUNION 2 a b WEIGHTS 0 0 WITHSCORES
        ZUNION 1 a WEIGHTS 0 WITHSCORES
        ZUNION 2 a b WEIGHTS 0 0 WITHSCORES AGGREGATE MIN
        ZINTER 1 a WEIGHTS 0 WITHSCORES
        ZUNION 2 a b WEIGHTS inf -inf AGGREGATE MIN WITHSCORES
        ZUNION 2 a a WITHSCORES
        ZUNION 1 nokey
        ZUNION 1 nokey WITHSCORES
        ZUNION 3 a nokey s WITHSCORES
        ZINTER 2 a b
        ZINTER 2 a b WITHSCORES
        ZINTER 3 a b s WITHSCORES WEIGHTS 2 0.5 -3
        ZINTER 2 a b WITHSCORES AGGREGATE MIN
        ZINTER 2 a b WITHSCORES AGGREGATE MAX WEIGHTS 5 1
        ZINTER 2 a b WEIGHTS 0 0 WITHSCORES AGGREGATE MAX
        ZINTER 2 b a WEIGHTS 0 0 WITHSCORES AGGREGATE MIN
        ZINTER 2 a a WITHSCORES WEIGHTS 1 10
        ZINTER 2 a nokey
        ZINTER 1 s WITHSCORES
        ZDIFF 2 a b
        ZDIFF 2 a b WITHSCORES
        ZDIFF 3 a b s WITHSCORES
        ZDIFF 1 a WITHSCORES
        ZDIFF 2 s a WITHSCORES
        ZDIFF 2 a a
        ZDIFF 2 nokey a
        ZDIFF 3 a nokey s
        ZINTERCARD 2 a b
        ZINTERCARD 2 a b LIMIT 2
        ZINTERCARD 2 a b LIMIT 0
        ZINTERCARD 2 a b LIMIT 100
        ZINTERCARD 3 a b s
        ZINTERCARD 2 a nokey
        ZINTERCARD 1 s LIMIT 1 LIMIT 3
        """)


def test_storing(compare: Compare) -> None:
    compare(r"""
        ZADD a 1 x 2 y 3 z
        ZADD b 10 y 20 z 30 w
        SADD s x y other
        SET target v EX 1000
        ZUNIONSTORE target 3 a b s WEIGHTS 1 2 3 AGGREGATE MAX
        ZRANGE target 0 -1 WITHSCORES
        TTL target
        ZINTERSTORE target 2 a b WEIGHTS 0.1 0.2
        ZRANGE target 0 -1 WITHSCORES
        ZDIFFSTORE target 2 a b
        ZRANGE target 0 -1 WITHSCORES
        ZDIFFSTORE target 2 a a
        EXISTS target
        ZINTERSTORE target 2 a nokey
        ZINTERSTORE a 2 a b
        ZRANGE a 0 -1 WITHSCORES
        ZUNIONSTORE a 2 a a
        ZRANGE a 0 -1 WITHSCORES
        ZUNIONSTORE s 1 s
        TYPE s
        ZUNIONSTORE a 1 nokey
        EXISTS a
        ZRANGESTORE b b (10 +inf BYSCORE
        ZRANGE b 0 -1 WITHSCORES
        ZRANGESTORE b b 5 6
        EXISTS b
        ZRANGESTORE s nokey 0 -1
        EXISTS s
        """)


def test_several_large_sets(compare: Compare) -> None:
    more = " ".join(f"{n * 0.1} member:{n * 3}" for n in range(700))
    members = " ".join(f"member:{n * 7}" for n in range(600))
    compare(f"""
        ZADD a {MANY}
        ZADD b {more}
        SADD s {members}
        ZUNIONSTORE d 3 a b s WEIGHTS 1 0.1 7
        ZINTERSTORE e 3 a b s WEIGHTS 1 0.1 7
        ZDIFFSTORE f 3 b a s
        ZDIFFSTORE g 2 s a
        ZDIFF 2 a b WITHSCORES
        ZINTER 2 s b WITHSCORES
        ZINTERCARD 2 s b
        ZINTERCARD 2 a b LIMIT 10
        OBJECT ENCODING d
        OBJECT ENCODING e
        """)


# Scripts: errors ----------------------------------------------------------------------------------

WRONG_TYPES = """
    ZADD string 1 a
    ZADD string XX 1 a
    ZADD string x a
    ZINCRBY string 1 a
    ZREM string a
    ZCARD string
    ZSCORE string a
    ZMSCORE string a b
    ZRANK string a
    ZREVRANK string a
    ZCOUNT string 0 1
    ZCOUNT string x 1
    ZLEXCOUNT string - +
    ZLEXCOUNT string x +
    ZRANGE string 0 1
    ZRANGE string x 1
    ZRANGESTORE d string 0 1
    ZRANGESTORE string z 0 -1
    SET string x
    ZREVRANGE string 0 1
    ZRANGEBYSCORE string 0 1
    ZREVRANGEBYSCORE string 0 1
    ZRANGEBYLEX string - +
    ZREVRANGEBYLEX string + -
    ZREMRANGEBYRANK string 0 1
    ZREMRANGEBYRANK string x 1
    ZREMRANGEBYSCORE string 0 1
    ZREMRANGEBYLEX string - +
    ZPOPMIN string
    ZPOPMAX string 0
    ZPOPMAX string -1
    ZMPOP 2 nokey string MIN
    ZMPOP 2 z string MIN
    ZADD z 1 a 2 b
    ZRANDMEMBER string
    ZRANDMEMBER string 1
    ZRANDMEMBER string 1 foo
    ZSCAN string 0
    ZSCAN string x
    ZSCAN string 0 foo
    ZUNION 2 z string
    ZUNION 2 z string foo
    ZINTER 2 nokey string
    ZDIFF 2 nokey string
    ZINTERCARD 2 nokey string
    ZUNIONSTORE d 2 z string
    ZUNIONSTORE string 1 nokey
    EXISTS string
    """

WRONG_ARGUMENTS = """
    ZADD z
    ZADD z 1
    ZADD z nx
    ZADD z nx 1
    ZADD z nx xx
    ZADD z nx xx ch
    ZADD z 1 a 2
    ZADD z nx xx 1 a
    ZADD z gt lt 1 a
    ZADD z gt nx 1 a
    ZADD z nx lt 1 a
    ZADD z nx gt lt xx 1 a
    ZADD z incr 1 a 2 b
    ZADD z incr nx xx 1 a 2 b
    ZADD z 1 a x b
    ZADD z nan b
    ZADD z "" b
    ZADD z " 1" b
    ZADD z 1e999 b
    ZADD z foo 1 a
    ZADD z 1 a nx 2
    ZINCRBY z 1
    ZINCRBY z x a
    ZINCRBY z nx a
    ZINCRBY z nan a
    ZREM z
    ZCARD
    ZSCORE z
    ZMSCORE z
    ZRANK z
    ZREVRANK
    ZCOUNT z 0
    ZCOUNT z x y
    ZLEXCOUNT z a b
    ZLEXCOUNT z - x
    ZLEXCOUNT z "" +
    ZLEXCOUNT z -a +
    ZLEXCOUNT z "- " +
    ZRANGE z 0
    ZRANGE z x 1
    ZRANGE z 0 1.5
    ZRANGE z 0 9223372036854775808
    ZRANGE z 0 1 foo
    ZRANGE z 0 1 byscore byscore
    ZRANGE z 0 1 byscore bylex
    ZRANGE z 0 1 rev rev
    ZRANGE z 0 1 limit 0
    ZRANGE z 0 1 limit 0 1
    ZRANGE z 0 1 limit 5 -1
    ZRANGE z 0 1 limit x 1 byscore
    ZRANGE z 0 1 limit 1 x byscore
    ZRANGE z a b bylex
    ZRANGE z a b byscore
    ZRANGE z - + bylex withscores
    ZRANGE z 0 1 withscores withscores
    ZREVRANGE z 0 1 rev
    ZREVRANGE z 0 1 byscore
    ZREVRANGE z 0 1 limit 0 1
    ZRANGEBYSCORE z 0 1 byscore
    ZRANGEBYSCORE z 0 1 rev
    ZRANGEBYSCORE z 0 1 limit 0
    ZRANGEBYSCORE z x 1
    ZREVRANGEBYSCORE z x 1
    ZRANGEBYLEX z 0 1
    ZRANGEBYLEX z - + withscores
    ZREVRANGEBYLEX z - + foo
    ZRANGESTORE d z 0
    ZRANGESTORE d z 0 -1 withscores
    ZRANGESTORE d z 0 -1 limit 0 1
    ZRANGESTORE d z x -1
    ZREMRANGEBYRANK z x 1
    ZREMRANGEBYRANK nokey 0 x
    ZREMRANGEBYSCORE z x 1
    ZREMRANGEBYSCORE nokey 1 x
    ZREMRANGEBYLEX z x +
    ZREMRANGEBYLEX nokey - x
    ZPOPMIN z -1
    ZPOPMIN z x
    ZPOPMIN z 1 2
    ZPOPMIN z x 2
    ZPOPMAX nokey x
    ZPOPMAX z 9223372036854775808
    ZMPOP 0 z MIN
    ZMPOP x z MIN
    ZMPOP -1 z MIN
    ZMPOP 1 z
    ZMPOP 1 z FOO
    ZMPOP 2 z MIN
    ZMPOP 1 z MIN COUNT
    ZMPOP 1 z MIN COUNT 0
    ZMPOP 1 z MIN COUNT x
    ZMPOP 1 z MIN COUNT 1 COUNT 1
    ZMPOP 1 z MIN FOO
    ZMPOP 1 z MIN FOO 1
    ZMPOP 9223372036854775807 z MIN
    ZRANDMEMBER
    ZRANDMEMBER z x
    ZRANDMEMBER z 1 foo
    ZRANDMEMBER z 1 withscores foo
    ZRANDMEMBER z -9223372036854775808
    ZRANDMEMBER z 9223372036854775808
    ZRANDMEMBER z 4611686018427387904 withscores
    ZRANDMEMBER z -4611686018427387904 withscores
    ZRANDMEMBER nokey -9223372036854775807
    ZSCAN z
    ZSCAN z x
    ZSCAN nokey 0 foo
    ZSCAN z 0 count 0
    ZSCAN z 0 count
    ZSCAN z 0 foo 1
    ZUNION 0 z
    ZUNION -1 z
    ZUNION x z
    ZUNION 2 z
    ZUNION 9223372036854775807 z
    ZUNION 1 z foo
    ZUNION 1 z weights
    ZUNION 1 z weights x
    ZUNION 1 z weights nan
    ZUNION 2 z z weights 1
    ZUNION 2 z z weights 1 withscores
    ZUNION 1 z aggregate
    ZUNION 1 z aggregate foo
    ZUNION 1 z limit 1
    ZINTER 0 z
    ZDIFF 0 z
    ZDIFF 1 z weights 1
    ZDIFF 1 z aggregate sum
    ZINTERCARD 0 z
    ZINTERCARD 1 z limit
    ZINTERCARD 1 z limit -1
    ZINTERCARD 1 z limit x
    ZINTERCARD 1 z withscores
    ZINTERCARD 1 z weights 1
    ZUNIONSTORE d 0 z
    ZUNIONSTORE d 1
    ZUNIONSTORE d 1 z withscores
    ZINTERSTORE d 0 z
    ZINTERSTORE d 1 z weights
    ZDIFFSTORE d 0 z
    ZDIFFSTORE d 1 z weights 1
    ZDIFFSTORE d 2 z
    COMMAND GETKEYS ZUNION 2 a b WEIGHTS 1 2
    COMMAND GETKEYS ZINTERCARD 3 a b
    COMMAND GETKEYS ZINTERSTORE d 2 a b
    COMMAND GETKEYS ZDIFFSTORE d x a b
    COMMAND GETKEYS ZMPOP 2 a b MIN
    COMMAND GETKEYS ZRANGESTORE d z 0 -1
    ZRANGE z 0 -1 WITHSCORES
    KEYS *
    """


def test_the_wrong_type(compare: Compare) -> None:
    compare(f"SET string x\nZADD z 1 a 2 b\n{WRONG_TYPES}")


def test_wrong_arguments(compare: Compare) -> None:
    compare(f"ZADD z 1 a 2 b\n{WRONG_ARGUMENTS}")


# Chance, scans, encodings -------------------------------------------------------------------------


def test_random_members(compare: Compare) -> None:
    compare(r"""
        ZADD z 1.5 only
        ZRANDMEMBER z
        ZRANDMEMBER z 1
        ZRANDMEMBER z 5 withscores
        ZRANDMEMBER z -3
        ZRANDMEMBER z -3 WITHSCORES
        ZRANDMEMBER z 0
        ZRANDMEMBER z 0 withscores
        ZRANDMEMBER nokey
        ZRANDMEMBER nokey 1
        ZRANDMEMBER nokey 1 withscores
        ZADD z 1 a 2 b 3 c
        unordered: ZRANDMEMBER z 4
        unordered: ZRANDMEMBER z 9 withscores
        any: ZRANDMEMBER z
        any: ZRANDMEMBER z 2
        any: ZRANDMEMBER z 2 withscores
        """)


@pytest.mark.parametrize("size", [10, 100, 2000])
def test_random_members_are_as_many_as_asked_for(store: kvcore.Store, size: int) -> None:
    scores = {b"m%d" % i: i / 4 for i in range(size)}
    for member, score in scores.items():
        store.execute("ZADD", "z", score, member)
    for count in (1, 3, size // 2, size - 1, size, size + 1):
        different = store.execute("ZRANDMEMBER", "z", count)
        assert len(set(different)) == len(different) == min(count, size)
        pairs = store.execute("ZRANDMEMBER", "z", -count, "WITHSCORES")
        assert len(pairs) == count
        assert all(scores[member] == score for member, score in pairs)
    assert set(store.execute("ZRANDMEMBER", "z", -100 * size)) == set(scores)
    assert len({store.execute("ZRANDMEMBER", "z") for _ in range(20)}) > 1
    with pytest.raises(CommandError, match="out of range"):
        store.execute("ZRANDMEMBER", "z", -(10**12))


def test_scanning(compare: Compare) -> None:
    scores = "1 a 0.1 ab -2 b 1e18 c 1e19 d inf e 1e-7 f"
    compare(f"""
        ZADD z {scores}
        ZSCAN z 0
        ZSCAN z 77 COUNT 1
        ZSCAN z 0 MATCH a*
        ZSCAN z 0 MATCH * COUNT 5
        ZSCAN nokey 0
        ZADD z 3 {"x" * 65}
        unordered: ZSCAN z 0 COUNT 100
        unordered: ZSCAN z 0 COUNT 100 MATCH ?
        """)


def test_scanning_a_large_set_finds_every_member_that_stays(store: kvcore.Store) -> None:
    for i in range(3000):
        store.execute("ZADD", "z", i, f"stays{i}")
    found: dict[bytes, bytes] = {}
    cursor: bytes = b"0"
    steps = 0
    while steps == 0 or cursor != b"0":
        cursor, page = store.execute("ZSCAN", "z", cursor, "COUNT", 100, "MATCH", "stays*")
        found.update(zip(page[::2], page[1::2]))
        store.execute("ZADD", "z", 0, f"comes{steps}", 0, f"comes{steps}b")
        store.execute("ZREM", "z", f"comes{steps - 1}")
        steps += 1
    assert found == {b"stays%d" % i: b"%d" % i for i in range(3000)}
    assert 10 < steps < 40


def test_encodings(compare: Compare) -> None:
    many = [Step((b"ZADD", b"many", b"%d" % i, b"%d" % i)) for i in range(129)]
    ask = Step((b"OBJECT", b"ENCODING", b"many"))
    compare([*many[:128], ask, many[128], ask, Step((b"ZREM", b"many", b"0", b"1")), ask])
    compare(f"""
        ZADD z 1 {"x" * 64}
        OBJECT ENCODING z
        ZADD z XX 1 {"x" * 65}
        OBJECT ENCODING z
        ZADD z 1 {"x" * 65}
        OBJECT ENCODING z
        COPY z twin
        OBJECT ENCODING twin
        ZRANGESTORE d z 0 0
        OBJECT ENCODING d
        ZRANGESTORE d z 0 -1
        OBJECT ENCODING d
        ZINTERSTORE d 1 z
        OBJECT ENCODING d
        """)


def test_what_sort_takes_from_sorted_sets(compare: Compare) -> None:
    compare("""
        ZADD z 3 10 2 20 1 30
        SORT z
        SORT z BY nosort
        SORT z BY nosort DESC LIMIT 0 2
        """)


# Effects ------------------------------------------------------------------------------------------

EFFECTS = """
    ZADD z 1 a 2 b 3 c
    ZADD z 1 a 5 b 7 d
    ZADD z 1 a
    ZADD z XX 1 new
    ZADD nokey XX 1 new
    ZADD z INCR 1 a
    ZADD z INCR 0 a
    ZADD z NX INCR 1 a
    ZINCRBY z 2 a
    ZINCRBY z 0 a
    ZREM z a x
    ZREM z x
    ZADD y 1 a 2 b 3 c 4 d 5 e 6 f
    SADD s a b c
    ZUNIONSTORE u 2 y s
    ZINTERSTORE i 2 y s
    ZDIFFSTORE d 2 y s
    ZDIFFSTORE d 2 y y
    ZDIFFSTORE d 2 y y
    ZRANGESTORE d y 0 2
    ZRANGESTORE d y 10 20
    ZRANGESTORE d y 10 20
    ZPOPMIN y
    ZPOPMAX y 2
    ZPOPMAX y 0
    ZMPOP 2 nokey y MIN
    ZMPOP 2 nokey y MAX COUNT 100
    ZMPOP 2 nokey y MAX COUNT 100
    ZREMRANGEBYRANK u 0 0
    ZREMRANGEBYSCORE u 3 (5
    ZREMRANGEBYSCORE u 300 500
    ZREMRANGEBYLEX u - +
    ZRANDMEMBER i 2
    ZREMRANGEBYRANK i 0 -1
    ZREM z b c d
    ZPOPMIN z
    ZADD z 1
    """


def test_effects_are_those_of_redis(tmp_path: Path) -> None:
    with (
        effects_of_redis(tmp_path / "redis") as redis,
        effects_of_kvcore(tmp_path / "ours") as ours,
    ):
        expected, actual = redis(EFFECTS), ours(EFFECTS)
    assert actual.events == expected.events
    assert actual.journal == expected.journal
    assert actual.dirty == expected.dirty


def test_rewriting(store: kvcore.Store) -> None:
    items = [(b"%d" % n, n / 3) for n in range(127)] + [(b"", -inf), (b"top", inf), (b"zero", -0.0)]
    zset = ZSet.of(items)
    commands = list(TYPE.rewrite(b"z", zset))
    assert [len(argv) for argv in commands] == [130, 130, 6]
    for argv in commands:
        store.execute(*argv)
    assert store.execute("ZRANGE", "z", 0, -1, "WITHSCORES") == [*zset.items()]


def test_watching(store: kvcore.Store) -> None:
    for command in (
        "ZADD z 5 a",
        "ZINCRBY z 1 a",
        "ZREM z a",
        "ZPOPMIN z",
        "ZMPOP 1 z MAX",
        "ZREMRANGEBYRANK z 0 0",
        "ZRANGESTORE z y 0 0",
        "ZUNIONSTORE z 1 y",
    ):
        store.execute("DEL", "z")
        store.execute("ZADD", "z", 1, "a")
        store.execute("ZADD", "y", 1, "b")
        store.execute("WATCH", "z")
        store.execute(*command.split())
        assert store.transaction(["ZCARD", "z"]) == []


# RDB ----------------------------------------------------------------------------------------------

ENCODED = {
    "few": {b"a": 1.0, b"": 2.5, b"1": -5.0, b"007": 0.1, b"inf": inf, b"-inf": -inf},
    "integral scores": {b"%d" % bits: (-1.0) ** bits * 2**bits for bits in range(66)},
    "extreme scores": {b"a": 1e300, b"b": -5e-324, b"c": 1 / 3, b"d": 2.0**62, b"e": 1.1 * 2**62},
    "zeros": {b"a": 0.0, b"b": -0.0},
    "as long as a listpack takes": {b"m" * 64: 1.0},
    "as many as a listpack takes": {b"%d" % n: n / 8 for n in range(128)},
    "one more": {b"%d" % n: n / 8 for n in range(129)},
    "long member": {b"m" * 65: -0.0, b"a": 0.0, b"b": 1e18, b"top": inf, b"low": -inf},
    "many": {b"member:%d" % n: n * 0.1 for n in range(1000)},
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODED)
def test_dumps_go_both_ways(oracle: RedisServer, store: kvcore.Store, name: str) -> None:
    redis = oracle.client(raw=True)
    for member, score in ENCODED[name].items():
        store.execute("ZADD", "k", score, member)
        redis.execute_command("ZADD", "k", repr(score), member)
    (expected,) = redis.execute_command("DEBUG DIGEST-VALUE", "k")
    encoding = redis.execute_command("OBJECT ENCODING", "k")

    dump = redis.execute_command("DUMP", "k")
    assert store.execute("DEBUG", "DIGEST-VALUE", "k") == [expected.decode()]
    assert store.execute("OBJECT", "ENCODING", "k") == encoding

    # A skiplist that is small again comes back as a listpack, which knows no -0.
    redis.execute_command("RESTORE", "theirs", 0, dump)
    redis.execute_command("RESTORE", "ours", 0, store.execute("DUMP", "k"))
    store.execute("RESTORE", "theirs", 0, dump)
    (expected,) = redis.execute_command("DEBUG DIGEST-VALUE", "theirs")
    assert redis.execute_command("DEBUG DIGEST-VALUE", "ours") == [expected]
    assert store.execute("DEBUG", "DIGEST-VALUE", "theirs") == [expected.decode()]
    encoding = redis.execute_command("OBJECT ENCODING", "theirs")
    assert store.execute("OBJECT", "ENCODING", "theirs") == encoding


@pytest.mark.parametrize("name", ["few", "integral scores", "extreme scores", "many"])
def test_what_is_dumped_is_what_redis_dumps(
    oracle: RedisServer, store: kvcore.Store, name: str
) -> None:
    redis = oracle.client(raw=True)
    for member, score in ENCODED[name].items():
        store.execute("ZADD", "k", score, member)
        redis.execute_command("ZADD", "k", repr(score), member)
    assert store.execute("DUMP", "k") == redis.execute_command("DUMP", "k")


def string(data: bytes) -> bytes:
    writer = Writer()
    writer.string(data)
    return writer.getvalue()


def double(number: float) -> bytes:
    return struct.pack("<d", number)


def payload(code: int, body: bytes) -> bytes:
    """What RESTORE takes."""
    text = bytes([code]) + body + b"\x0a\0"
    return text + crc64(text).to_bytes(8, "little")


OLD = {
    "plain": (3, b"\x04\x01a\x031.5\x01b\xff\x01c\xfe\x01d\x02-0"),
    "binary": (5, b"\x03\x01a" + double(1.5) + b"\x01b" + double(-0.0) + b"\x01c" + double(-inf)),
    "binary, long": (5, b"\x02" + string(b"abc" * 50) + double(-0.0) + b"\x01c" + double(-inf)),
    "ziplist": (12, string(ziplist.encode([b"a", b"-inf", b"b", b"1", b"c", b"1.5", b"2", b"3"]))),
    "listpack": (17, string(listpack.encode([b"a", b"-0", b"b", b"0", b"c", b"1e5"]))),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_old_encodings(oracle: RedisServer, store: kvcore.Store, name: str) -> None:
    code, body = OLD[name]
    redis = oracle.client(raw=True)
    redis.execute_command("RESTORE", "k", 0, payload(code, body))
    store.execute("RESTORE", "k", 0, payload(code, body))
    found = store.execute("ZRANGE", "k", 0, -1, "WITHSCORES")
    expected = redis.execute_command("ZRANGE", "k", 0, -1, "WITHSCORES")
    assert [member for member, _ in found] == expected[::2]
    assert [score for _, score in found] == [float(score) for score in expected[1::2]]
    encoding = redis.execute_command("OBJECT ENCODING", "k")
    assert store.execute("OBJECT", "ENCODING", "k") == encoding


def test_limits_meet_loaded_sets_as_in_redis(tmp_path: Path) -> None:
    """Each code, with few and many members, short and long: encodings under narrow limits."""
    args = ("--zset-max-listpack-entries", "2", "--zset-max-listpack-value", "3")
    with (
        start_redis(tmp_path, *args) as server,
        kvcore.open(zset_max_listpack_entries="2", zset_max_listpack_value="3") as store,
    ):
        redis = server.client(raw=True)
        for items in (b"a 1 b 2", b"a 1 b 2 c 3", b"a 1 long 2"):
            words = items.split()
            count = bytes([len(words) // 2])
            pairs = list(zip(words[::2], words[1::2]))
            texts = [string(m) + bytes([len(s)]) + s for m, s in pairs]
            binary = [string(m) + double(float(s)) for m, s in pairs]
            for code, body in (
                (3, count + b"".join(texts)),
                (5, count + b"".join(binary)),
                (12, string(ziplist.encode(words))),
                (17, string(listpack.encode(words))),
            ):
                data = payload(code, body)
                redis.execute_command("RESTORE", "k", 0, data, "REPLACE")
                store.execute("RESTORE", "k", 0, data, "REPLACE")
                expected = redis.execute_command("OBJECT ENCODING", "k")
                assert store.execute("OBJECT", "ENCODING", "k") == expected, (code, items)
                assert store.execute("ZCARD", "k") == len(pairs)


def load(code: int, data: bytes) -> ZSet:
    reader = Reader(data)
    value = TYPE.load(code, reader, Limits())
    assert isinstance(value, ZSet)
    assert reader.at_end()
    value.check()
    return value


texts = st.binary(max_size=100) | st.integers().map(lambda n: b"%d" % n)
floats = st.floats(allow_nan=False) | st.integers(-(2**70), 2**70).map(float)


@given(st.dictionaries(texts, floats, min_size=1))
def test_a_set_is_loaded_as_it_was_saved(scores: dict[bytes, float]) -> None:
    value = ZSet.of(scores.items())
    writer = Writer()
    TYPE.save(value, writer)
    loaded = load(TYPE.rdb_code(value, writer.version), writer.getvalue())
    assert list(loaded.items()) == list(value.items())
    assert loaded.encoding == value.encoding


@given(floats)
def test_packed_scores_mean_the_same(score: float) -> None:
    assert float(spell_packed(score)) == score


@given(st.sampled_from([3, 5, 12, 17]), st.binary(max_size=60), st.booleans())
def test_any_bytes_are_a_set_or_corrupt(code: int, data: bytes, wrapped: bool) -> None:
    reader = Reader(string(data) if wrapped else data)
    try:
        value = TYPE.load(code, reader, Limits())
    except CorruptData:
        return
    value.check()
    assert len(value) > 0


NAN = double(float("nan"))
PACKED = [
    ([], "empty"),
    ([b"a", b"1", b"b"], "its last member has no score"),
    ([b"a", b"1", b"a", b"2"], "a member comes twice"),
    ([b"b", b"2", b"a", b"1"], "its members are out of order"),
    ([b"b", b"1", b"a", b"1"], "its members are out of order"),
    ([b"a", b"nan"], "a score is not a number"),
    ([b"a", b""], "a score is not a number"),
    ([b"a", b"1_0"], "a score is not a number"),
    ([b"a", b" 1"], "a score is not a number"),
    ([b"a", b"1e5e5"], "a score is not a number"),
]
BROKEN = [
    (3, b"\x00", "empty"),
    (3, b"\x01\x01a\xfd", "a score is not a number"),
    (3, b"\x01\x01a\x03foo", "invalid double"),
    (3, b"\x02\x01a\x011\x01a\x012", "a member comes twice"),
    (3, b"\x02\x01a\x011", "unexpected end of file"),
    (5, b"\x00", "empty"),
    (5, b"\x01\x01a" + NAN, "a score is not a number"),
    (5, b"\x02\x01a" + double(1) + b"\x01a" + double(2), "a member comes twice"),
    (5, b"\x01\x01a" + double(1)[:7], "unexpected end of file"),
    (5, b"\x81" + b"\xff" * 8 + b"\x01a" + double(1), "unexpected end of file"),
    *((12, string(ziplist.encode(items)), why) for items, why in PACKED),
    *((17, string(listpack.encode(items)), why) for items, why in PACKED),
    (12, string(ziplist.encode([b"a", b"1"])[:-1]), "ziplist"),
    (17, string(listpack.encode([b"a", b"1"])[:-1]), "listpack"),
    (17, b"\x05abc", "unexpected end of file"),
]


@pytest.mark.parametrize(("code", "data", "why"), BROKEN)
def test_what_is_broken_is_refused(code: int, data: bytes, why: str) -> None:
    with pytest.raises(CorruptData, match=why) as caught:
        load(code, data)
    assert caught.value.offset >= 0


# Any sequence -------------------------------------------------------------------------------------

NAMES = [b"a", b"b", b"1", b"", b"\xff", b"m" * 65]
keys = st.sampled_from([b"z", b"z", b"z", b"y", b"s"])
members = st.sampled_from(NAMES)
scores = st.one_of(
    st.integers(-3, 3).map(lambda n: b"%d" % n),
    st.floats(-1e20, 1e20).map(lambda x: b"%r" % x),
    st.sampled_from([b"-0", b"inf", b"-inf", b"1e300", b"-1e300", b"x", b"nan", b"5e-324"]),
)
bounds = st.tuples(st.sampled_from([b"", b"("]), scores).map(b"".join)
ranks = st.integers(-8, 8).map(lambda n: b"%d" % n)
lexes = st.one_of(
    st.sampled_from([b"-", b"+"]),
    st.tuples(st.sampled_from([b"[", b"("]), members).map(b"".join),
)
limits = st.one_of(st.just([]), st.tuples(st.just(b"LIMIT"), ranks, ranks).map(list))
with_scores = st.sampled_from([[], [b"WITHSCORES"]])
rev = st.sampled_from([[], [b"REV"]])
add_options = st.lists(st.sampled_from([b"NX", b"XX", b"GT", b"LT", b"CH", b"INCR"]), max_size=2)
weights = st.one_of(
    st.just([]),
    st.tuples(st.just(b"WEIGHTS"), scores, scores).map(list),
    st.tuples(st.just(b"AGGREGATE"), st.sampled_from([b"SUM", b"MIN", b"MAX"])).map(list),
)


def words(*parts: object) -> st.SearchStrategy[list[bytes]]:
    """A request of parts: bytes, or strategies of bytes or of lists of bytes."""

    def flat(drawn: tuple[object, ...]) -> list[bytes]:
        found: list[bytes] = []
        for part in drawn:
            found += part if isinstance(part, list) else [part]
        return found

    strategies = [part if isinstance(part, st.SearchStrategy) else st.just(part) for part in parts]
    return st.tuples(*strategies).map(flat)


pairs = st.lists(st.tuples(scores, members), min_size=1, max_size=3).map(
    lambda drawn: list(chain.from_iterable(drawn))
)
common = [
    words(b"ZADD", keys, add_options, pairs),
    words(b"ZADD", b"z", pairs),
    words(b"ZINCRBY", keys, scores, members),
    words(b"ZREM", keys, members, members),
    words(b"ZSCORE", keys, members),
    words(b"ZMSCORE", keys, members, members),
    words(b"ZRANK", keys, members),
    words(b"ZREVRANK", keys, members),
    words(b"ZCOUNT", keys, bounds, bounds),
    words(b"ZRANGE", keys, ranks, ranks, rev, with_scores),
    words(b"ZRANGE", keys, bounds, bounds, b"BYSCORE", rev, limits, with_scores),
    words(b"ZRANGESTORE", keys, keys, bounds, bounds, b"BYSCORE", rev, limits),
    words(b"ZREVRANGEBYSCORE", keys, bounds, bounds, with_scores, limits),
    words(b"ZREMRANGEBYRANK", keys, ranks, ranks),
    words(b"ZREMRANGEBYSCORE", keys, bounds, bounds),
    words(b"ZPOPMIN", keys),
    words(b"ZPOPMAX", keys, ranks),
    words(b"ZMPOP", b"2", keys, keys, st.sampled_from([b"MIN", b"MAX"])),
    words(b"SADD", b"s", members),
    words(b"OBJECT", b"ENCODING", st.sampled_from([b"z", b"y"])),
    words(b"COPY", b"z", b"y", b"REPLACE"),
    words(b"DEBUG", b"DIGEST-VALUE", b"z", b"y"),
    *[words(name, b"2", keys, keys, weights, with_scores) for name in (b"ZUNION", b"ZINTER")],
    words(b"ZDIFF", b"2", keys, keys, with_scores),
    words(b"ZINTERCARD", b"2", keys, keys),
    words(b"ZUNIONSTORE", keys, b"2", keys, keys, weights),
    words(b"ZINTERSTORE", keys, b"2", keys, keys, weights),
    words(b"ZDIFFSTORE", keys, b"2", keys, keys),
]
# Redis defines ranges of members only where all scores are equal.
equal = [
    words(b"ZADD", b"z", b"0", members, b"0", members),
    words(b"ZREM", b"z", members),
    words(b"ZLEXCOUNT", b"z", lexes, lexes),
    words(b"ZRANGE", b"z", lexes, lexes, b"BYLEX", rev, limits),
    words(b"ZRANGESTORE", b"y", b"z", lexes, lexes, b"BYLEX", rev, limits),
    words(b"ZRANGEBYLEX", b"z", lexes, lexes, limits),
    words(b"ZREVRANGEBYLEX", b"z", lexes, lexes, limits),
    words(b"ZREMRANGEBYLEX", b"z", lexes, lexes),
]


def steps(requests: list[st.SearchStrategy[list[bytes]]]) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.one_of(requests).map(lambda argv: Step(tuple(argv))), max_size=25)


@settings(max_examples=150)
@given(script=steps(common))
def test_any_sequence_is_answered_alike(compare: Compare, script: list[Step]) -> None:
    compare(script)


@settings(max_examples=50)
@given(script=steps(equal))
def test_any_sequence_of_ranges_of_members_is_answered_alike(
    compare: Compare, script: list[Step]
) -> None:
    compare(script)
