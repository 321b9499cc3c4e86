"""Requests that come together, and look for their keys and members together (`Session._fetch`)."""

from __future__ import annotations

import pytest

import kvcore
from kvcore.codec.output import Output
from kvcore.resp import encode_request
from kvcore.session import MANY, Session
from kvcore.table import LARGE

ADD = {"hash": "HSET big {}", "set": "SADD big {}", "zset": "ZADD big {}"}
ELEMENT = {"hash": "m{} v{}", "set": "m{}", "zset": "{} m{}"}
REQUESTS = {
    "hash": "HGET big m5|HGET big none|HSET big m5 other|HGET big m5|HDEL big m5 m6|HLEN big",
    "set": "SISMEMBER big m5|SISMEMBER big none|SADD big m5 new|SREM big m5 m6|SCARD big",
    "zset": "ZSCORE big m5|ZRANK big none|ZADD big 7.5 m5|ZRANK big m5|ZREM big m5 m6|ZCARD big",
}
OTHERS = "PING|GET|GET big|SET big|HGET small m1|SET text x|GET text|LPUSH big x|NONE big x"


def request(line: str) -> bytes:
    out = Output()
    encode_request([word.encode() for word in line.split()], out)
    return b"".join(out.take())


def session_with(kind: str, size: int) -> Session:
    session = Session(kvcore.open(tick=False).instance.engine)
    for start in range(0, size, 1000):
        elements = [ELEMENT[kind].format(n, n) for n in range(start, start + 1000)]
        session.receive(request(ADD[kind].format(" ".join(elements))))
    session.receive(request("HSET small m1 x"))
    session.take()
    return session


@pytest.mark.parametrize("kind", ADD)
def test_a_pipeline_on_a_large_collection_answers_as_its_requests_do_one_by_one(kind: str) -> None:
    lines = [*REQUESTS[kind].split("|"), *OTHERS.split("|"), "DEL big", *REQUESTS[kind].split("|")]
    assert len(lines) > MANY
    together = session_with(kind, LARGE)
    apart = session_with(kind, LARGE)
    together.receive(b"".join(map(request, lines)))
    expected = []
    for line in lines:
        apart.receive(request(line))
        expected += apart.take()
    assert b"".join(together.take()) == b"".join(expected)
