from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvcore.codec.glob import MAX_STARS, Glob, glob_match
from tests.support import RedisServer

PATTERN = st.lists(
    st.sampled_from([bytes([byte]) for byte in b"**??[]^-\\abcAB\xff\x80\x00"]), max_size=10
).map(b"".join)
STRING = st.lists(
    st.sampled_from([bytes([byte]) for byte in b"aabbcABZ[]^-*?\\\xff\x80\x7f\x00"]), max_size=6
).map(b"".join)


@settings(max_examples=400)
@given(pattern=PATTERN, strings=st.sets(STRING, min_size=1, max_size=12))
def test_finds_the_keys_that_redis_finds(
    oracle: RedisServer, pattern: bytes, strings: set[bytes]
) -> None:
    client = oracle.client()
    client.flushall()
    client.mset(dict.fromkeys(strings, b""))
    found = set(client.keys(pattern))
    client.close()
    assert {string for string in strings if glob_match(pattern, string)} == found


@settings(max_examples=200)
@given(
    name=st.sampled_from(["maxclients", "dir", "appendfsync", "lfu-log-factor", "bind"]),
    pieces=st.lists(
        st.sampled_from(["*", "?", "[A-z]", "[^a-m]", "[\\M\\D]", "[DbAm]", "[z-A]", "\\M", "A"]),
        min_size=1,
        max_size=3,
    ),
    place=st.integers(0, 8),
)
def test_without_case_finds_the_options_that_redis_finds(
    oracle: RedisServer, name: str, pieces: list[str], place: int
) -> None:
    pattern = name[:place].upper() + "".join(pieces) + name[place + len(pieces) :] + "*"
    client = oracle.client(raw=True)
    names = client.execute_command("CONFIG", "GET", "*")[::2]
    found = client.execute_command("CONFIG", "GET", pattern)[::2]
    client.close()
    glob = Glob(pattern.encode(), nocase=True)
    assert {name for name in names if glob.match(name)} == set(found)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [(b"b", True), (b"[b]", True), (b"[a-c]", True), (b"[\\b]", False), (b"[^b]", False)],
)
def test_without_case_strings_of_upper_case_match_too(pattern: bytes, matches: bool) -> None:
    # No name that Redis compares without case is in upper case, so this is read off its source.
    assert glob_match(pattern, b"B", nocase=True) == matches


def test_as_many_stars_as_redis_takes(oracle: RedisServer) -> None:
    key = b"a" * 3000
    client = oracle.client()
    client.set(key, b"")
    for stars in (MAX_STARS, MAX_STARS + 1):
        for end in (b"", b"*"):
            pattern = b"*a" * stars + end
            assert glob_match(pattern, key) == (client.keys(pattern) == [key])


@pytest.mark.parametrize("nocase", [False, True])
@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        (b"*a" * 900 + b"*b", False),  # a matcher that goes back would need years
        (b"*[a-z]" * 900 + b"b", False),
        (b"*[ab][ac]" * 900 + b"[bc]*d*", False),
        (b"*" * 100_000 + b"b", False),
        (b"[a-z]" * 100_000 + b"*", True),
    ],
)
def test_abusive_patterns_end(pattern: bytes, matches: bool, nocase: bool) -> None:
    assert glob_match(pattern, b"a" * 100_000, nocase) == matches


def test_the_star_alone_matches_the_empty_string() -> None:
    assert glob_match(b"*", b"")
    assert not glob_match(b"**", b"")
