"""``kvcore convert``: every way round gives the same data, to us and to redis-server."""

from __future__ import annotations

import io
import json
import random
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvcore
from kvcore.cli import jsonlines, offline, output
from kvcore.datatype import Limits
from kvcore.errors import CorruptData
from tests.cli.conftest import Run, digest, log_files, redis_check
from tests.codec.test_old_files import FOLDER as OLD_FILES


def test_rdb_to_lines_to_log_to_rdb_is_what_redis_had(
    folder: Path, tmp_path: Path, run: Run
) -> None:
    snapshot, lines, log, again = (
        tmp_path / name for name in ("dump.rdb", "dump.jsonl", "log", "again")
    )
    (folder / "dump.rdb").rename(snapshot)
    again.mkdir()
    for source, target in ((snapshot, lines), (lines, log), (log, again / "dump.rdb")):
        result = run("convert", source, target)
        assert result.code == 0, result.err
        assert "601 keys" in result.out
    before = tmp_path / "before"
    before.mkdir()
    (before / "dump.rdb").write_bytes(snapshot.read_bytes())
    expected = digest(before)
    assert digest(again) == expected
    assert digest(log, "--appendonly", "yes") == expected
    with kvcore.open(str(log), persistence="aof", enable_debug_command="yes") as store:
        assert store.execute("DEBUG", "DIGEST") == expected
    assert run("diff", snapshot, again / "dump.rdb", "--expired").code == 0
    assert redis_check("redis-check-rdb", again / "dump.rdb")[0] == 0


def test_a_log_with_commands_becomes_lines(folder: Path, run: Run) -> None:
    result = run("convert", folder, "-")
    assert result.code == 0
    keys = {line["key"]: line for line in result.lines if isinstance(line["key"], str)}
    assert keys["later:1"] == {"db": 0, "key": "later:1", "type": "string", "value": "a\r\nb"}
    assert keys["later:3"]["value"] == ["y", "z"]
    assert keys["elsewhere"]["db"] == 3
    assert "reading the log" in result.err  # not the snapshot beside it
    again = run("convert", log_files(folder)[0], "-")
    assert again.out == result.out


def test_old_files_come_through(tmp_path: Path, run: Run) -> None:
    for path in sorted(OLD_FILES.glob("*.rdb")):
        if run("check", path).code == 0:
            target = tmp_path / f"{path.stem}.jsonl"
            back = tmp_path / path.name
            assert run("convert", path, target).code == 0
            assert run("convert", target, back).code == 0
            assert run("diff", path, back, "--expired").code == 0


TEXT = st.one_of(st.binary(max_size=30), st.text(max_size=10).map(lambda t: t.encode()))
SCORES = st.floats(allow_nan=False)
VALUES = st.one_of(
    st.tuples(st.just("string"), TEXT),
    st.tuples(st.just("list"), st.lists(TEXT, min_size=1, max_size=140)),
    st.tuples(st.just("set"), st.sets(TEXT, min_size=1, max_size=140)),
    st.tuples(st.just("zset"), st.dictionaries(TEXT, SCORES, min_size=1, max_size=140)),
    st.tuples(st.just("hash"), st.dictionaries(TEXT, TEXT, min_size=1, max_size=140)),
)


def commands(kind: str, value: Any) -> list[bytes]:
    if kind == "string":
        return [b"SET", b"k", value]
    if kind == "zset":
        pairs = [item for member, score in value.items() for item in (b"%r" % score, member)]
        return [b"ZADD", b"k", *pairs]
    if kind == "hash":
        return [b"HSET", b"k", *[item for pair in value.items() for item in pair]]
    return [b"RPUSH" if kind == "list" else b"SADD", b"k", *value]


@given(VALUES, TEXT, st.one_of(st.just(-1), st.integers(0, 2**62)))
def test_a_line_gives_back_exactly_what_it_was_made_of(
    made: tuple[str, Any], key: bytes, expiry: int
) -> None:
    memory = offline.Memory()
    memory.replay(0, commands(*made))
    database = memory.keyspace.databases[0]
    value = database.entries.get(b"k")
    types = offline.registry()
    line = jsonlines.dump(7, key, value, expiry, types)
    assert line.count(b"\n") == 1
    db, found_key, found, found_expiry = jsonlines.load(line, types, Limits())
    assert (db, found_key, found_expiry) == (7, key, expiry)
    datatype = types.of(found)
    assert datatype.name == types.of(value).name  # the one may lie packed, the other not
    assert types.of(found).digest(found, bytes(20)) == types.of(value).digest(value, bytes(20))
    limits = Limits()
    assert types.of(found).encoding(found, limits) == types.of(value).encoding(value, limits)
    assert jsonlines.dump(7, key, found, expiry, types) == line


def test_the_form_of_lines_is_as_documented(tmp_path: Path, run: Run) -> None:
    lines = [
        {"db": 0, "key": "s", "type": "string", "value": "naïve"},
        {"db": 0, "key": {"base64": "/w=="}, "type": "string", "value": {"base64": "/gA="}},
        {"db": 0, "key": "l", "type": "list", "value": ["1", {"base64": "gA=="}]},
        {"db": 2, "key": "set", "type": "set", "value": ["a", "b"], "ttl": 4102444800000},
        {"db": 2, "key": "z", "type": "zset", "value": [["low", "-inf"], ["m", 0.1], ["t", "inf"]]},
        {"db": 2, "key": "h", "type": "hash", "value": {"base64": "x", "g": {"base64": "/w=="}}},
        {"db": 9, "key": "h", "type": "hash", "value": [[{"base64": "/w=="}, "1"], ["f", "2"]]},
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("\n\n".join(map(json.dumps, lines)))
    assert run("convert", source, tmp_path / "log").code == 0
    assert run("convert", tmp_path / "log", "-").lines == lines


def test_numbers_may_be_written_by_hand(tmp_path: Path, run: Run) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"db":0,"key":"z","type":"zset","value":[["m",3]],"ttl":null}')
    (line,) = run("convert", source, "-").lines
    assert line["value"] == [["m", 3.0]]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nonsense", "Expecting value"),
        ("[]", "no line of keys"),
        ('{"db":0,"key":"k","type":"string"}', "'value' is missing"),
        ('{"db":-1,"key":"k","type":"string","value":""}', "db -1 is no number"),
        ('{"db":true,"key":"k","type":"string","value":""}', "db True is no number"),
        ('{"db":0,"key":"k","type":"string","value":7}', "a string is due, '7' was found"),
        ('{"db":0,"key":"k","type":"stuff","value":""}', "type 'stuff' is not known"),
        ('{"db":0,"key":"k","type":"list","value":[]}', "empty list"),
        ('{"db":0,"key":"k","type":"set","value":["a","a"]}', "same member twice"),
        ('{"db":0,"key":"k","type":"hash","value":{"f":"1","f":"2"}}', "a field twice"),
        ('{"db":0,"key":"k","type":"zset","value":[["m",NaN]]}', "not a number"),
        ('{"db":0,"key":"k","type":"zset","value":[["m",1%s]]}' % ("0" * 400), "out of range"),
        ('{"db":0,"key":{"base64":"?"},"type":"string","value":""}', "no base64"),
        ('{"db":0,"key":"k","type":"set","value":{"rdb":0,"base64":""}}', "no RDB type 0"),
        ('{"db":0,"key":"\\ud800","type":"string","value":""}', "surrogates"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_bad_line_is_named_and_leaves_nothing(
    line: str, why: str, tmp_path: Path, run: Run
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"db":0,"key":"k","type":"string","value":"v"}\n' + line)
    for target in ("out.rdb", "log", "out.jsonl"):
        result = run("convert", source, tmp_path / target)
        assert result.code == 1
        assert f"{source}, line 2: " in result.err
        assert why in result.err
        assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_lines_come_from_standard_input(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b'{"db":0,"key":"k","type":"string","value":"v"}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert run("convert", "-", tmp_path / "a.rdb").code == 0
    assert run("convert", tmp_path / "a.rdb", "-").out.encode() == text.replace(
        b":", b": "
    ).replace(b",", b", ")


def test_nothing_is_overwritten_and_usage_is_checked_first(folder: Path, run: Run) -> None:
    source, target = folder / "dump.rdb", folder / "x.rdb"
    target.write_bytes(b"precious")
    assert run("convert", source, target).code == 3
    assert run("convert", source, folder).code == 3
    assert target.read_bytes() == b"precious"
    for args in (
        [source, folder / "out.zip"],
        [source, "-", "--to", "rdb"],
        [source, folder / "o.jsonl", "--rdb-version", "11"],
        [source, folder / "o.rdb", "--to", "zip"],
    ):
        assert run("convert", *args).code == 2
    assert run("convert", folder / "missing", folder / "o.rdb").code == 3
    assert run("convert", source, folder / "no" / "o.rdb").code == 3
    assert not (folder / "o.rdb").exists()


def test_the_version_can_be_chosen(folder: Path, run: Run) -> None:
    for version in (9, 10, 11, 12):
        target = folder / f"{version}.rdb"
        result = run("convert", folder / "dump.rdb", target, "--rdb-version", version, "--json")
        assert result.json["keys"] == 601
        assert result.json["bytes"] == target.stat().st_size
        assert target.read_bytes().startswith(b"REDIS%04d" % version)
        assert run("check", target).code == 0
        assert run("diff", folder / "dump.rdb", target).code == 0
    for version in (8, 13):
        result = run("convert", folder / "dump.rdb", folder / "o.rdb", "--rdb-version", version)
        assert result.code == 2
        assert "9<=x<=12" in result.err


def test_a_damaged_source_leaves_no_target(folder: Path, run: Run) -> None:
    path = folder / "dump.rdb"
    path.write_bytes(path.read_bytes()[:-30])
    before = sorted(folder.rglob("*"))
    for target in ("o.rdb", "o.jsonl", "o"):
        assert run("convert", path, folder / target).code == 1
    assert sorted(folder.rglob("*")) == before


def test_a_snapshot_passes_through_in_little_memory(tmp_path: Path, run: Run) -> None:
    source = tmp_path / "in.rdb"
    rng = random.Random(1)
    with output.rdb_file(str(source)) as out:
        for number in range(12_000):
            out.put(0, b"key:%d" % number, rng.randbytes(1500).hex().encode(), -1)
    tracemalloc.start()
    assert run("convert", source, tmp_path / "out.jsonl").code == 0
    assert run("check", source).code == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "out.jsonl").stat().st_size > 36_000_000
    assert peak < 8_000_000  # windows of a megabyte, and what they are joined from


def test_databases_beyond_redis_default_are_reached(tmp_path: Path, run: Run) -> None:
    source = tmp_path / "a.aof"
    source.write_bytes(
        b"*2\r\n$6\r\nSELECT\r\n$4\r\n1000\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n"
    )
    (line,) = run("convert", source, "-").lines
    assert line["db"] == 1000
    source.write_bytes(source.read_bytes().replace(b"$4\r\n1000", b"$10\r\n2000000000"))
    result = run("convert", source, "-")
    assert result.code == 1
    assert "database 2000000000 is out of range" in result.err


def test_a_value_that_only_its_payload_can_tell() -> None:
    """What a type of another kind would be: here a set's payload under a name of its own."""
    types = offline.registry()
    types.by_name["set"].name = "bag"
    try:
        value = types.by_code[2].load(2, jsonlines.Reader(b"\x02\x01a\x01b"), Limits())
        line = jsonlines.dump(0, b"k", value, -1, types)
        assert json.loads(line)["value"]["rdb"] == 2
        found = jsonlines.load(line, types, Limits())[2]
        assert sorted(found.members()) == [b"a", b"b"]
        with pytest.raises(CorruptData):
            jsonlines.load(line.replace(b'"rdb": 2', b'"rdb": 1'), types, Limits())
    finally:
        types.by_name["set"].name = "set"
