"""Strings: what Redis answers, we answer."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore.families.strings.lcs import Table
from tests.scripts import Compare, Step


def test_getting_and_setting(compare: Compare) -> None:
    compare(r"""
        GET nokey
        SET k v
        GET k
        SET k "\x00\xff\r\n"
        GET k
        SETNX k 1
        SETNX new 1
        GETSET k w
        GETSET nokey w
        GETDEL k
        GETDEL k
        MSET a 1 b 2 a 3
        MGET a nokey b a
        MSETNX c 1 a 2
        MSETNX c 1 c 2
        MGET a c
        MSET a
        MSET a 1 b
        MSETNX a 1 b
        STRLEN a
        STRLEN nokey
        GET
        GET a b
        """)


def test_options_of_set(compare: Compare) -> None:
    compare(r"""
        SET k v NX
        SET k w NX
        SET k w XX GET
        SET nokey w XX
        SET nokey w XX GET
        SET new v NX GET
        SET new w NX GET
        SET k x EX 100
        approx: TTL k
        SET k y KEEPTTL
        approx: TTL k
        SET k z
        TTL k
        SET due x PXAT 1
        SET due y KEEPTTL
        TTL due
        GET due
        SET k z PX 100000 XX
        approx: PTTL k
        SET k z EXAT 4102444800
        EXPIRETIME k
        SET k z PXAT 4102444800123 GET
        PEXPIRETIME k
        SET k z PXAT 1
        EXISTS k
        SET k v EX 0
        SET k v EX -1
        SET k v PX 9223372036854775807
        SET k v EX 9223372036854775807
        SET k v EXAT 9223372036854775807
        SET k v EX 1.5
        SET k v EX
        SET k v NX XX
        SET k v EX 1 PX 1
        SET k v EX 1 KEEPTTL
        SET k v FOO
        SETEX k 100 v
        approx: TTL k
        SETEX k 0 v
        SETEX k x v
        PSETEX k 100000 v
        approx: PTTL k
        PSETEX k -1 v
        """)


def test_getex(compare: Compare) -> None:
    compare(r"""
        GETEX nokey
        SET k v
        GETEX k EX 100
        approx: TTL k
        GETEX k
        approx: TTL k
        GETEX k PERSIST
        TTL k
        GETEX k PXAT 4102444800123
        PEXPIRETIME k
        GETEX k EX 0
        GETEX k EX x
        GETEX k FOO
        GETEX k PERSIST EX 1
        GETEX k EX 1 PX 1
        GETEX nokey EX 0
        GETEX k PXAT 1
        EXISTS k
        """)


def test_parts_of_strings(compare: Compare) -> None:
    compare(r"""
        APPEND k "Hello "
        APPEND k World
        GETRANGE k 0 4
        GETRANGE k -5 -1
        GETRANGE k -100 100
        GETRANGE k 5 2
        GETRANGE k -1 -5
        GETRANGE nokey 0 -1
        SUBSTR k 0 -7
        GETRANGE k x 1
        SETRANGE k 6 Redis
        GET k
        SETRANGE k 20 !
        GET k
        SETRANGE nokey 5 ""
        EXISTS nokey
        SETRANGE nokey 2 x
        GET nokey
        SETRANGE k -1 x
        SETRANGE k x x
        SETRANGE k 536870912 x
        SETRANGE k 9223372036854775807 x
        SET n 10
        APPEND n 5
        INCR n
        OBJECT ENCODING n
        STRLEN n
        SETRANGE n 1 9
        GET n
        """)


def test_counting(compare: Compare) -> None:
    compare(r"""
        INCR n
        INCRBY n 41
        DECR n
        DECRBY n 1
        GET n
        INCRBY n x
        DECRBY n -9223372036854775808
        SET n 9223372036854775807
        INCR n
        DECRBY n -1
        SET n -9223372036854775808
        DECR n
        GET n
        SET n " 1"
        INCR n
        SET n 01
        INCR n
        SET n ""
        INCR n
        SET f 10.50
        INCRBYFLOAT f 0.1
        INCRBYFLOAT f -5
        INCRBYFLOAT f 5.0e3
        INCRBYFLOAT f inf
        INCRBYFLOAT f x
        INCRBYFLOAT new 3.0e-2
        INCR f
        GET f
        """)


def test_strings_refuse_other_types(compare: Compare) -> None:
    compare(r"""
        RPUSH l a
        GET l
        SET l v GET
        GETSET l v
        GETDEL l
        GETEX l
        APPEND l x
        STRLEN l
        SETRANGE l 0 x
        GETRANGE l 0 1
        INCR l
        INCRBYFLOAT l 1
        MGET l
        LCS l l
        SETNX l v
        TYPE l
        SET l v
        TYPE l
        """)


# LCS ----------------------------------------------------------------------------------------------


def test_longest_common_subsequence(compare: Compare) -> None:
    compare(r"""
        MSET a ohmytext b mynewtext empty "" n 12345
        LCS a b
        LCS a b LEN
        LCS a b IDX
        LCS a b IDX MINMATCHLEN 4
        LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN
        LCS a b IDX MINMATCHLEN -1
        LCS a b WITHMATCHLEN
        LCS a a IDX
        LCS a empty
        LCS a nokey IDX
        LCS nokey nokey LEN
        LCS a n
        LCS a b IDX LEN
        LCS a b MINMATCHLEN
        LCS a b MINMATCHLEN x
        LCS a b FOO
        LCS a
        SETRANGE large 20000 x
        LCS large large
        """)


@pytest.mark.parametrize("alphabet", [b"ab", b"abcdefgh"])
def test_lcs_chooses_the_runs_that_redis_chooses(compare: Compare, alphabet: bytes) -> None:
    rng = random.Random(1)
    steps = []
    for _ in range(60):
        for key in (b"a", b"b"):
            text = bytes(rng.choices(alphabet, k=rng.randrange(30)))
            steps.append(Step((b"SET", key, text)))
        steps.append(Step((b"LCS", b"a", b"b", b"IDX", b"WITHMATCHLEN")))
        steps.append(Step((b"LCS", b"a", b"b")))
    compare(steps)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_the_runs_of_an_lcs_are_common_and_make_up_its_length(a: bytes, b: bytes) -> None:
    table = Table(a, b)
    total, last_a, last_b = 0, len(a), len(b)
    for (start_a, end_a), (start_b, end_b) in table.runs():
        assert a[start_a : end_a + 1] == b[start_b : end_b + 1]
        assert start_a <= end_a < last_a
        assert start_b <= end_b < last_b
        last_a, last_b = start_a, start_b
        total += end_a + 1 - start_a
    assert total == table.length
