"""``kvcore diff``: what differs between two data sets, whatever holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.conftest import Run

FUTURE = 4_102_444_800_000


def write(path: Path, *keys: tuple[str, str, Any] | tuple[str, str, Any, int]) -> Path:
    """JSON lines of (key, type, value[, ttl]) in database 0; one named ``db1:…`` in 1."""
    records = []
    for key, kind, value, *ttl in keys:
        db = int(key.startswith("db1:"))
        record = {"db": db, "key": key, "type": kind, "value": value}
        records.append(json.dumps(record | ({"ttl": ttl[0]} if ttl else {})))
    path.write_text("\n".join(records))
    return path


def test_every_kind_of_difference_is_told_and_order_is_none(tmp_path: Path, run: Run) -> None:
    a = write(
        tmp_path / "a.jsonl",
        ("same", "set", ["x", "y"]),
        ("hash", "hash", {"f": "1", "g": "2"}),
        ("gone", "string", "v"),
        ("type", "string", "1"),
        ("value", "list", ["1", "2"]),
        ("db1:moved", "string", "v"),
        ("expiry", "string", "v", FUTURE),
        ("both", "string", "v", FUTURE),
    )
    b = write(
        tmp_path / "b.jsonl",
        ("both", "string", "w"),
        ("expiry", "string", "v", FUTURE + 1),
        ("value", "list", ["2", "1"]),
        ("type", "list", ["1"]),
        ("hash", "hash", {"g": "2", "f": "1"}),
        ("same", "set", ["y", "x"]),
        ("new \n", "zset", [["m", 1]]),
    )
    result = run("diff", a, b)
    assert result.code == 1
    assert sorted(result.out.splitlines()[:-1]) == [
        '+ 0 "new \\n"',
        '- 0 "gone"',
        '- 1 "db1:moved"',
        '~ 0 "both"  (value, expiry)',
        '~ 0 "expiry"  (expiry)',
        '~ 0 "type"  (value)',
        '~ 0 "value"  (value)',
    ]
    assert result.out.splitlines()[-1] == "7 differences in 9 keys"
    lines = run("diff", "--json", "--ignore-expiry", a, b).lines
    assert {"change": "changed", "db": 0, "key": "both", "what": ["value"]} in lines
    assert len(lines) == 6
    assert run("diff", "-q", a, b).out == ""
    assert run("diff", "-q", a, a).code == 0


def test_every_format_compares_with_every_other(folder: Path, tmp_path: Path, run: Run) -> None:
    for name in ("x.jsonl", "x.rdb", "x"):
        assert run("convert", folder, tmp_path / name).code == 0
        result = run("diff", folder, tmp_path / name)
        assert result.code == 0
        assert "no difference in" in result.out
    lines = run("diff", "--json", folder / "dump.rdb", folder).lines
    assert {"change": "added", "db": 0, "key": "later:1"} in lines


def test_a_key_whose_time_is_over_is_not_there(tmp_path: Path, run: Run) -> None:
    a = write(tmp_path / "a.jsonl", ("old", "string", "v", 1000), ("k", "string", "v"))
    b = write(tmp_path / "b.jsonl", ("k", "string", "v"))
    assert run("diff", a, b).code == 0
    assert run("diff", "--expired", a, b).code == 1


def test_what_cannot_be_read_or_is_damaged_has_its_own_code(tmp_path: Path, run: Run) -> None:
    a = write(tmp_path / "a.jsonl", ("k", "string", "v"))
    assert run("diff", a, tmp_path / "none").code == 3
    (tmp_path / "bad.rdb").write_bytes(b"REDIS0010")
    assert run("diff", a, tmp_path / "bad.rdb").code == 1
    twice = write(tmp_path / "c.jsonl", ("k", "string", "v"), ("k", "string", "v"))
    result = run("diff", twice, a)
    assert result.code == 1
    assert "is there twice" in result.err
