"""The runner of scripts must see what differs."""

from __future__ import annotations

import io

import pytest

from tests.scripts import (
    Compare,
    Failure,
    Map,
    NilArray,
    Set,
    Status,
    Step,
    parse,
    read_reply,
    same,
)


def test_a_script_is_text() -> None:
    assert parse(r"""
        # a comment
        SET k "a b\x00"

        wait: 5
        unordered: SMEMBERS s
        """) == [
        Step((b"SET", b"k", b"a b\x00")),
        Step((b"SMEMBERS", b"s"), "unordered", 5),
    ]
    with pytest.raises(ValueError, match="unbalanced quotes"):
        parse('GET "k')


def test_replies_keep_the_type_that_they_have_on_the_wire() -> None:
    stream = io.BytesIO(
        b"*8\r\n+OK\r\n$2\r\nOK\r\n-ERR no\r\n:7\r\n,1.5\r\n_\r\n*-1\r\n"
        b"%1\r\n$1\r\nk\r\n~1\r\n#t\r\n"
    )
    expected = [Status(b"OK"), b"OK", Failure(b"ERR no"), 7, 1.5, None, NilArray(), Map()]
    reply = read_reply(stream)
    assert isinstance(reply, list)
    assert list(map(type, reply)) == list(map(type, expected))
    assert reply[-1] == [b"k", Set([True])]


@pytest.mark.parametrize(
    ("expected", "actual", "mode", "answer"),
    [
        (Status(b"OK"), b"OK", "exact", False),
        ([b"a", b"b"], [b"b", b"a"], "exact", False),
        ([b"a", b"b"], [b"b", b"a"], "unordered", True),
        ([b"0", [b"a", b"b"]], [b"0", [b"b", b"a"]], "unordered", True),
        ([b"a", b"a"], [b"b", b"a"], "unordered", False),
        (Map([b"f", 1, b"g", 2]), Map([b"g", 2, b"f", 1]), "unordered", True),
        (Map([b"f", 1, b"g", 2]), Map([b"f", 2, b"g", 1]), "unordered", False),
        (100, 99, "approx", True),
        (1, -1, "approx", False),
        (100_000, 98_000, "approx", False),
        (b"a", b"b", "any", True),
        (b"a", Failure(b"ERR"), "any", False),
    ],
)
def test_comparing(expected: object, actual: object, mode: str, answer: bool) -> None:
    assert same(expected, actual, mode) is answer  # type: ignore[arg-type]


def test_a_difference_is_told_with_what_went_before(compare: Compare) -> None:
    compare("SET k v")
    with pytest.raises(AssertionError, match=r"(?s)RESP2: after\n    SET k v\n.* DEBUG OBJECT k\n"):
        compare("""
            SET k v
            DEBUG OBJECT k
            """)
