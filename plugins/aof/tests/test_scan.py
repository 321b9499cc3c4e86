"""What a file of a log holds, found out without executing it; redis-check-aof is the oracle."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore.codec.rdb import Writer
from kvcore.datatype import Limits
from kvcore.errors import CorruptData
from kvcore.persistence import Loader
from kvcore_aof import base
from kvcore_aof.scan import FOREVER, Scan, scan
from kvcore_rdb import format


class NoLoader(Loader):
    """For text alone, and for snapshots of nothing."""

    types = format.TypeRegistry()
    limits = Limits()
    now = 0

    def progress(self, done: int, total: int) -> None:
        pass

    def note(self, **fields: object) -> None:
        pass


def scanned(data: bytes, *, is_base: bool = False, until: int = FOREVER) -> Scan:
    loader = NoLoader()
    source = base.Source(io.BytesIO(data), len(data), loader)
    return scan(source, loader, "a.aof", is_base=is_base, until=until)


def request(*argv: bytes) -> bytes:
    return b"*%d\r\n" % len(argv) + b"".join(b"$%d\r\n%b\r\n" % (len(a), a) for a in argv)


SELECT = request(b"SELECT", b"3")
SET = request(b"SET", b"key", b"a\r\nvalue")
MULTI, EXEC = request(b"MULTI"), request(b"EXEC")
LONG = request(b"set", b"long", b"x" * 2000)
LOG = SELECT + SET + MULTI + SET + SELECT + LONG + EXEC + LONG + SET


def oracle(path: Path) -> tuple[int, int, bool]:
    """(ok_up_to, ok_up_to_line, valid) of redis-check-aof."""
    program = shutil.which("redis-check-aof")
    assert program is not None
    run = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    found = re.search(r"ok_up_to=(\d+), ok_up_to_line=(\d+), diff", run.stdout)
    assert found is not None, run.stdout
    return int(found[1]), int(found[2]), run.returncode == 0


def test_a_whole_log_is_counted_as_redis_check_aof_counts_it(tmp_path: Path) -> None:
    path = tmp_path / "a.aof"
    path.write_bytes(LOG)
    found = scanned(LOG)
    assert (found.whole, found.lines + 1, not found.torn) == oracle(path)
    assert (found.damage, found.commands, found.undated) == (None, 5, True)


def test_wherever_it_is_torn_the_whole_part_is_that_of_redis_check_aof(tmp_path: Path) -> None:
    path = tmp_path / "a.aof"
    ends = {scanned(LOG[:size]).whole for size in range(len(LOG))}
    for size in [*range(0, len(LOG), 97), *[end + 1 for end in ends], *[end - 1 for end in ends]]:
        if size > 0:
            path.write_bytes(LOG[:size])
            found = scanned(LOG[:size])
            assert (found.whole, not found.torn) == oracle(path)[::2], size
            assert found.damage is None


def test_zeroes_at_the_end_are_what_a_crash_may_leave() -> None:
    for size in range(0, len(LOG), 97):
        found = scanned(LOG[:size] + bytes(70_000))
        assert found.whole == scanned(LOG[:size]).whole
        assert found.torn
        assert found.damage is None
    assert scanned(SET + bytes(9)).torn == "9 zero bytes"
    assert scanned(SET + bytes(9) + SET).damage is not None


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (SET + b"hello\r\n" + SET, len(SET)),
        (SET + MULTI + SET + b"*2\r\n$-1\r\n" + EXEC, len(SET)),
        (SET + MULTI + MULTI + EXEC, len(SET)),
        (SET + EXEC + SET, len(SET)),
        (SET + LONG.replace(b"$2000", b"$1999") + SET, len(SET)),
        (SET + LONG.replace(b"$2000", b"$20000") + SET, len(SET)),
    ],
)
def test_damage_ends_the_whole_part_before_its_command_or_transaction(
    data: bytes, whole: int, tmp_path: Path
) -> None:
    found = scanned(data)
    assert found.damage is not None
    assert found.whole == whole
    path = tmp_path / "a.aof"
    path.write_bytes(data)
    assert oracle(path)[::2] == (whole, False)


@given(st.lists(st.sampled_from([SET, LONG, SELECT, MULTI + SET + EXEC]), max_size=6), st.data())
def test_what_is_called_whole_is_what_a_load_takes(parts: list[bytes], data: st.DataObject) -> None:
    log = b"".join(parts)
    cut = log[: data.draw(st.integers(0, len(log)))]
    found = scanned(cut)
    whole = scanned(cut[: found.whole])
    assert (whole.whole, whole.torn, whole.damage) == (found.whole, "", None)
    assert (whole.commands, whole.lines) == (found.commands, found.lines)
    assert any(found.whole == len(b"".join(parts[:n])) for n in range(len(parts) + 1))


def ts(second: int) -> bytes:
    return b"#TS:%d\r\n" % second


def test_annotations_are_told_and_cut_at() -> None:
    log = ts(10) + SET + ts(12) + SET + ts(12) + MULTI + SET + EXEC + ts(20) + SET
    found = scanned(log)
    assert (found.first, found.last, found.undated, found.cut) == (10, 20, False, -1)
    for until in range(12, 20):
        found = scanned(log, until=until)
        assert found.whole == log.index(ts(20))
        assert (found.commands, found.last, found.cut) == (3, 12, 20)
    assert scanned(log, until=9).whole == 0
    assert scanned(log, until=20).whole == len(log)
    assert scanned(SET + log).undated


def test_an_annotation_inside_a_transaction_cuts_before_it() -> None:
    log = ts(1) + SET + MULTI + SET + ts(2) + SET + EXEC
    assert scanned(log, until=1).whole == len(ts(1) + SET)


def test_a_base_may_begin_with_a_snapshot() -> None:
    writer = Writer(checksum=True)
    format.begin(writer, aux={"aof-base": 1})
    format.end(writer)
    snapshot = writer.getvalue()
    found = scanned(snapshot + SET + SET[:-1], is_base=True)
    assert found.contents is not None
    assert found.contents.aux["aof-base"] == b"1"
    assert (found.preamble, found.whole) == (len(snapshot), len(snapshot) + len(SET))
    with pytest.raises(CorruptData, match="CRC error"):
        scanned(snapshot[:-1] + b"?" + SET, is_base=True)
    assert scanned(snapshot).damage is not None
