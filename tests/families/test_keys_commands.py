"""Keys of any type: what Redis answers, we answer."""

from __future__ import annotations

import pytest

from tests.scripts import Compare

# A key of each type. Commands of a type are tested with that type; here they only make values.
SAMPLES = r"""
    SET string "some text"
    SET int 42
    RPUSH list c a b
    SADD set 3 1 2
    ZADD zset 1 one 2 two
    HSET hash f v
    """


def test_deleting_and_asking(compare: Compare) -> None:
    compare(r"""
        MSET a 1 b 2 c 3
        EXISTS a b a nokey
        TOUCH a b nokey
        TYPE a
        TYPE nokey
        DEL a a nokey
        UNLINK b nokey
        DBSIZE
        KEYS *
        DEL
        DEL nokey
        EXISTS
        TYPE a b
        """)


def test_keys_of_every_type(compare: Compare) -> None:
    compare(
        SAMPLES
        + r"""
        TYPE string
        TYPE list
        TYPE set
        TYPE zset
        TYPE hash
        COPY list list2
        COPY set set2
        COPY zset zset2
        COPY hash hash2
        RPUSH list x
        SADD set 9
        ZADD zset 9 nine
        HSET hash g w
        RENAME list2 list3
        MOVE zset2 5
        unordered: SCAN 0 COUNT 1000 TYPE set
        unordered: SCAN 0 COUNT 1000 TYPE ZSet
        unordered: KEYS *
        DEBUG DIGEST-VALUE string int list list3 set set2 zset hash hash2 nokey
        """
    )


def test_patterns_of_key_names(compare: Compare) -> None:
    compare(r"""
        MSET one 1 two 2 three 3 t[a] 4 "" 5 "\xff\x00" 6
        unordered: KEYS *
        unordered: KEYS t*
        unordered: KEYS t*e*
        unordered: KEYS ???
        unordered: KEYS [ot]*
        unordered: KEYS t\\[*
        unordered: KEYS [^o]*
        KEYS one
        KEYS on
        KEYS ""
        KEYS "\xff*"
        unordered: SCAN 0 COUNT 1000
        unordered: SCAN 0 MATCH t* COUNT 1000
        unordered: SCAN 0 COUNT 1000 TYPE string MATCH *o*
        unordered: SCAN 0 COUNT 1000 TYPE list
        unordered: SCAN 0 COUNT 1000 TYPE nonsense
        KEYS
        """)


def test_arguments_of_scan(compare: Compare) -> None:
    compare(r"""
        SCAN ""
        SCAN +0
        SCAN -0
        SCAN 00000000000000000000000000000000000000000000000000
        SCAN 18446744073709551615
        SCAN 18446744073709551616
        SCAN -18446744073709551615
        SCAN " 1"
        SCAN 1x
        SCAN -
        SCAN x COUNT x
        SCAN 0 COUNT
        SCAN 0 COUNT 0
        SCAN 0 COUNT -1
        SCAN 0 COUNT x
        SCAN 0 FOO 1
        SCAN 0 MATCH
        SCAN 0 COUNT 9223372036854775807
        """)


def test_a_random_key_is_a_key(compare: Compare) -> None:
    compare(r"""
        RANDOMKEY
        SET k v
        RANDOMKEY
        SET other v PX 1
        wait: 5
        RANDOMKEY
        EXISTS other
        """)


def test_renaming(compare: Compare) -> None:
    compare(r"""
        SET a 1 EX 100
        SET b 2
        RENAME a b
        GET b
        approx: TTL b
        EXISTS a
        RENAME a b
        RENAME b b
        RENAMENX b b
        RENAMENX nokey nokey
        RENAME nokey nokey
        SET c 3
        RENAMENX b c
        RENAMENX b d
        TTL d
        RENAME c d
        TTL d
        MGET a b c d
        RENAME a
        """)


def test_copying(compare: Compare) -> None:
    compare(r"""
        SET a 1 EX 100
        COPY a b
        COPY a b
        COPY a b REPLACE
        approx: TTL b
        SET c 3
        COPY c b REPLACE
        TTL b
        COPY a a
        COPY a a REPLACE
        COPY nokey b REPLACE
        COPY a a DB 3
        COPY a a DB 3
        COPY a a DB 3 REPLACE
        COPY a z DB 0
        COPY a b DB 16
        COPY a b DB -1
        COPY a b DB x
        COPY a b DB 99999999999
        COPY a b DB
        COPY a b FOO
        SELECT 3
        GET a
        approx: TTL a
        APPEND a x
        COPY a b
        APPEND b y
        MGET a b
        """)


def test_moving_between_databases(compare: Compare) -> None:
    compare(r"""
        SET a 1 EX 100
        MOVE a 1
        MOVE a 1
        SELECT 1
        approx: TTL a
        MOVE a 1
        MOVE nokey 2
        SELECT 0
        SET a 2
        MOVE a 1
        MOVE a 16
        MOVE a x
        MOVE a 3000000000
        GET a
        SWAPDB 0 1
        GET a
        SWAPDB 0 0
        SWAPDB 0 16
        SWAPDB x 0
        SWAPDB 0 x
        SWAPDB 0 99999999999
        DBSIZE
        """)


def test_flushing(compare: Compare) -> None:
    compare(r"""
        SET a 1 EX 100
        SELECT 1
        SET b 1
        FLUSHDB
        DBSIZE
        FLUSHDB ASYNC
        FLUSHDB SYNC
        FLUSHDB NOW
        FLUSHALL SYNC ASYNC
        SELECT 0
        DBSIZE
        FLUSHALL sync
        DBSIZE
        """)


def test_watches_are_broken_by_whole_databases(compare: Compare) -> None:
    compare(r"""
        SET a 1
        WATCH a
        FLUSHALL
        MULTI
        SET b 1
        EXEC
        WATCH nokey
        FLUSHALL
        MULTI
        SET b 1
        EXEC
        WATCH b
        SWAPDB 0 1
        MULTI
        EXEC
        SELECT 1
        WATCH b
        RENAME b c
        MULTI
        EXEC
        WATCH c
        EXPIRE c 100
        MULTI
        EXEC
        WATCH c
        PERSIST c
        MULTI
        EXEC
        WATCH new
        COPY c new
        MULTI
        EXEC
        """)


# Expiry -------------------------------------------------------------------------------------------


def test_setting_and_asking_for_expiry(compare: Compare) -> None:
    compare(r"""
        SET k v
        TTL k
        PTTL k
        EXPIRETIME k
        PEXPIRETIME k
        EXPIRE k 100
        approx: TTL k
        approx: PTTL k
        approx: EXPIRETIME k
        approx: PEXPIRETIME k
        PEXPIRE k 100400
        approx: TTL k
        EXPIREAT k 4102444800
        EXPIRETIME k
        PEXPIREAT k 4102444800500
        EXPIRETIME k
        PEXPIRETIME k
        PERSIST k
        PERSIST k
        TTL k
        PERSIST nokey
        EXPIRE nokey 100
        TTL nokey
        PTTL nokey
        EXPIRETIME nokey
        PEXPIRETIME nokey
        """)


def test_conditions_of_expiry(compare: Compare) -> None:
    compare(r"""
        SET k v
        EXPIRE k 100 XX
        EXPIRE k 100 GT
        EXPIRE k 100 xx lt
        EXPIRE k 300 LT
        approx: TTL k
        EXPIRE k 400 LT
        EXPIRE k 400 NX
        EXPIRE k 200 GT
        EXPIRE k 400 gt xx
        approx: TTL k
        EXPIRE k 200 XX LT
        approx: TTL k
        PERSIST k
        EXPIREAT k 4102444800 nx nx
        PEXPIREAT k 4102444800000 GT
        PEXPIREAT k 4102444800000 LT
        PEXPIREAT k 4102444800001 GT
        PEXPIRETIME k
        EXPIRE k -1 GT
        EXPIRE k -1 NX
        EXPIRE k 1 NX GT
        EXPIRE k 1 NX XX
        EXPIRE k 1 GT LT
        EXPIRE k 1 FOO
        EXPIRE k 1 NX FOO GT
        EXPIRE k x FOO
        EXPIRE k -1 LT
        EXISTS k
        """)


@pytest.mark.parametrize("name", ["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"])
def test_limits_of_expiry(compare: Compare, name: str) -> None:
    compare(rf"""
        SET k v
        {name} k 9223372036854775807
        {name} k 9223372036854775808
        {name} k 9223372036854776
        {name} k 9223372036854775
        {name} k 1.5
        {name} k ""
        {name} nokey x
        {name} k
        PERSIST k
        SET k v
        {name} k 0
        EXISTS k
        SET k v
        {name} k -9223372036854775
        EXISTS k
        SET k v
        {name} k -9223372036854775808
        EXISTS k
        SET k v
        {name} k -9223372036854776
        EXISTS k
        """)


def test_expired_keys_are_gone_for_every_command(compare: Compare) -> None:
    compare(r"""
        DEBUG SET-ACTIVE-EXPIRE 0
        MSET a 1 b 2 c 3 d 4
        PEXPIRE a 1
        PEXPIRE b 1
        PEXPIRE c 1
        wait: 10
        EXISTS a
        TYPE b
        KEYS *
        unordered: SCAN 0 COUNT 1000
        RENAME c d
        COPY c e
        PERSIST b
        TTL c
        DUMP c
        OBJECT ENCODING c
        DEL c
        SET a 1 PX 1
        wait: 10
        RENAMENX d a
        GET a
        SET b 1 PX 1
        wait: 10
        COPY a b
        DBSIZE
        DEBUG SET-ACTIVE-EXPIRE 1
        """)


# OBJECT, DUMP, RESTORE ----------------------------------------------------------------------------


def test_object(compare: Compare) -> None:
    compare(r"""
        SET small 9999
        SET large 10000
        SET negative -1
        SET notint 007
        SET word abc
        SET long aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
        OBJECT ENCODING small
        OBJECT ENCODING notint
        OBJECT ENCODING word
        OBJECT ENCODING long
        OBJECT REFCOUNT small
        OBJECT REFCOUNT large
        OBJECT REFCOUNT negative
        OBJECT REFCOUNT word
        OBJECT IDLETIME word
        OBJECT FREQ word
        OBJECT ENCODING nokey
        OBJECT REFCOUNT nokey
        OBJECT IDLETIME nokey
        OBJECT FREQ nokey
        OBJECT HELP
        OBJECT FOO word
        OBJECT ENCODING
        OBJECT ENCODING a b
        OBJECT
        """)


def test_dump_and_restore(compare: Compare) -> None:
    compare(r"""
        SET k v
        SET n 123456
        SET z aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
        DUMP k
        DUMP n
        DUMP z
        DUMP nokey
        RESTORE new 0 "\x00\x01v\n\x00\x91\x08\xce\xb2\x198\x8a\xce"
        RESTORE new 0 "\x00\x01v\n\x00\x91\x08\xce\xb2\x198\x8a\xce"
        RESTORE new 100000 "\x00\x01v\n\x00\x91\x08\xce\xb2\x198\x8a\xce" REPLACE
        GET new
        approx: PTTL new
        RESTORE new 4102444800000 "\x00\x01v\n\x00\x91\x08\xce\xb2\x198\x8a\xce" ABSTTL REPLACE
        PEXPIRETIME new
        RESTORE new 1 "\x00\x01v\n\x00\x91\x08\xce\xb2\x198\x8a\xce" replace absttl
        EXISTS new
        RESTORE new 1 "\x00\x01v\n\x00\x91\x08\xce\xb2\x198\x8a\xce" absttl
        RESTORE new 0 "\x00\x01v\n\x00\x91\x08\xce\xb2\x198\x8a\xce" IDLETIME 5
        RESTORE new 0 "\x00\x01v\n\x00\x91\x08\xce\xb2\x198\x8a\xce" FREQ 5 REPLACE
        RESTORE new 0 "\x00\x01v\n\x00\x91\x08\xce\xb2\x198\x8a\xce" FREQ 5 IDLETIME 5 REPLACE
        """)


def test_restore_refuses(compare: Compare) -> None:
    compare(r"""
        SET k v
        RESTORE k 0 nonsense
        RESTORE a x nonsense
        RESTORE a -1 nonsense
        RESTORE a 0 nonsense
        RESTORE a 0 ""
        RESTORE a 0 "\x00\x01v\n\x00\x91\x08\xce\xb2\x198\x8a\xcf"
        RESTORE a 0 "\x00\x01w\n\x00\x91\x08\xce\xb2\x198\x8a\xce"
        RESTORE a 0 "\x00\x01v\xff\x00\x91\x08\xce\xb2\x198\x8a\xce"
        RESTORE a 0 x FOO
        RESTORE a 0 x FREQ 256
        RESTORE a 0 x FREQ -1
        RESTORE a 0 x IDLETIME -1
        RESTORE a 0 x IDLETIME x
        RESTORE a 0 x IDLETIME
        RESTORE a 0
        """)


# SORT ---------------------------------------------------------------------------------------------


def test_sorting(compare: Compare) -> None:
    compare(r"""
        RPUSH l 3 10 -1 2.5 1e1 0x10 inf "" " 4" "7\x00x"
        SORT l
        SORT l DESC
        SORT l ALPHA
        SORT l ALPHA DESC ASC
        SORT l LIMIT 1 3
        SORT l LIMIT -5 2
        SORT l LIMIT 100 2
        SORT l LIMIT 2 -1
        SORT l LIMIT 9223372036854775807 9223372036854775807
        SORT l LIMIT 0 0
        SORT l BY nosort
        SORT l BY nosort DESC
        SORT l BY nosort DESC LIMIT 1 2
        SORT_RO l LIMIT 0 2 DESC
        SADD s 3 1 2
        SORT s
        SORT s DESC
        ZADD z 3 a 2 b 1 c
        SORT z ALPHA
        SORT z BY nosort
        SORT z BY nosort DESC LIMIT 0 2
        SORT nokey
        SORT nokey BY w_*
        RPUSH words b a
        SORT words
        SORT words BY nosort GET #
        """)


def test_sorting_by_other_keys(compare: Compare) -> None:
    compare(r"""
        RPUSH l 1 2 3 4
        MSET w_1 30 w_2 10 w_3 20 name_1 one name_2 two name_3 three
        HSET h_1 weight 5 name uno
        HSET h_2 weight 7
        SORT l BY w_*
        SORT l BY w_* DESC
        SORT l BY w_* GET #
        SORT l BY w_* GET name_* GET #
        SORT l BY w_* GET nostar
        SORT l BY h_*->weight GET h_*->name
        SORT l BY h_*->weight DESC LIMIT 0 2
        SORT l BY h_*-> GET h_*->
        SORT l BY name_* ALPHA
        SORT l BY name_* ALPHA DESC
        SORT l BY name_*
        SORT l BY h_* ALPHA
        SORT l GET l* GET w_*x
        SORT_RO l BY w_* GET name_*
        """)


def test_sorting_into_a_key(compare: Compare) -> None:
    compare(r"""
        RPUSH l 3 1 2
        SADD s c b a
        SET name_1 one
        SORT l STORE out
        LRANGE out 0 -1
        EXPIRE out 100
        SORT l DESC GET name_* STORE out
        TTL out
        LRANGE out 0 -1
        SORT s BY nosort STORE out
        LRANGE out 0 -1
        SORT s BY nosort DESC LIMIT 0 2 STORE out
        LRANGE out 0 -1
        SORT nokey STORE out
        EXISTS out
        SORT nokey STORE out
        SORT l STORE l
        LRANGE l 0 -1
        SORT l STORE a STORE b
        EXISTS a b
        SORT_RO l STORE out
        """)


def test_sort_refuses(compare: Compare) -> None:
    compare(r"""
        SET string v
        HSET hash f v
        RPUSH l 1 nan
        SORT string
        SORT hash
        SORT l
        SORT l STORE out
        SORT l LIMIT 1
        SORT l LIMIT x 1
        SORT l BY
        SORT l GET
        SORT l FOO
        SORT string FOO
        SORT
        EXISTS out
        """)


# DEBUG --------------------------------------------------------------------------------------------


def test_debug(compare: Compare) -> None:
    compare(r"""
        SET k v
        SET volatile v EX 100
        DEBUG DIGEST
        DEBUG DIGEST-VALUE k nokey volatile
        DEBUG DIGEST-VALUE
        any: DEBUG OBJECT k
        DEBUG OBJECT nokey
        DEBUG OBJECT
        DEBUG SLEEP 0
        DEBUG SLEEP
        DEBUG RELOAD FOO
        DEBUG FOO
        DEBUG "\r\nFOO"
        any: DEBUG HELP
        DEBUG
        """)
