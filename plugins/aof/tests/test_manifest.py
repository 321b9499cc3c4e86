"""The grammar of the manifest, as Redis has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvcore.errors import CorruptData
from kvcore_aof import manifest
from kvcore_aof.manifest import BASE, HISTORY, INCREMENT, Manifest, Part
from plugins.aof.tests.harness import Opener, request
from tests.support import ServerExited, start_redis

SELECT = request("SELECT", "0")

GOOD = [
    "file a seq 1 type b\n",
    "# comment\nfile a seq 1 type b\n",
    "#" + "x" * 900 + "\nfile a seq 1 type b\n",
    "file a seq 1 type b later unknown\n",
    "later unknown type b seq 1 file a\n",
    "FILE a Seq 1 TYPE b\n",
    " file a \t seq 1 type b \r\n",
    'file "a" seq 1 type b\n',
    'file "\\x61" seq 1 type b\n',
    "file a seq 1 type i\nfile b seq 3 type i\n",
    "file a seq 1 type i\nfile b seq 7 type b\n",
    "file gone seq 9 type h\nfile gone2 seq 8 type h\nfile a seq 1 type b\n",
    "# no file at all\n",
]

# And what Redis says of it.
BAD = [
    ("", "Found an empty AOF manifest"),
    ("file a seq 1 type b", "The AOF manifest file contains too long line"),
    ("file a seq 1 type b x " + "y" * 1100 + "\n", "The AOF manifest file contains too long line"),
    ("\n", "Invalid AOF manifest file format"),
    ("file a seq 1 type b\n\n", "Invalid AOF manifest file format"),
    ("file a seq 1\n", "Invalid AOF manifest file format"),
    ("file a seq 1 type b odd\n", "Invalid AOF manifest file format"),
    ("fill a seq 1 type b\n", "Invalid AOF manifest file format"),
    ('file "a seq 1 type b\n', "Invalid AOF manifest file format"),
    ("file a seq 0 type b\n", "Invalid AOF manifest file format"),
    ("file a seq x type b\n", "Invalid AOF manifest file format"),
    ('file a seq 1 type ""\n', "Invalid AOF manifest file format"),
    ("file a seq 1 type x\n", "Unknown AOF file type"),
    ("file ../a seq 1 type b\n", "File can't be a path, just a filename"),
    ("file sub\\a seq 1 type b\n", "File can't be a path, just a filename"),
    ("file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information"),
    ("file a seq 2 type i\nfile b seq 1 type i\n", "Found a non-monotonic sequence number"),
    ("file a seq 1 type i\nfile b seq 1 type i\n", "Found a non-monotonic sequence number"),
    ("file a seq -1 type i\n", "Found a non-monotonic sequence number"),
]

# What Redis takes for something else than it says (`atoll` and the like).
STRICTER = [
    "file a seq -1 type b\n",
    "file a seq 1x type b\n",
    "file a seq 99999999999999999999 type b\n",
    "file . seq 1 type b\n",
    'file "a\\x00b" seq 1 type b\n',
    'file "" seq 1 type b\n',
]


def make(folder: Path, text: str) -> None:
    target = folder / "appendonlydir"
    target.mkdir()
    (target / "appendonly.aof.manifest").write_bytes(text.encode())
    for name in ("a", "b"):
        (target / name).write_bytes(SELECT)


@pytest.mark.behaviour("manifest: grammar", "what redis-server takes is taken")
@pytest.mark.parametrize("text", GOOD)
def test_what_redis_takes_we_take(tmp_path: Path, opener: Opener, text: str) -> None:
    make(tmp_path, text)
    with start_redis(tmp_path, "--appendonly", "yes", "--aof-disable-auto-gc", "yes"):
        pass
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_bytes(text.encode())
    assert opener(aof_disable_auto_gc=True).do("SET", "k", "v") == "OK"


@pytest.mark.behaviour("manifest: grammar", "what redis-server refuses is refused in its words")
@pytest.mark.behaviour("log lines", "of a manifest that is refused")
@pytest.mark.parametrize(("text", "why"), BAD)
def test_what_redis_refuses_we_refuse_in_its_words(
    tmp_path: Path, opener: Opener, text: str, why: str
) -> None:
    make(tmp_path, text)
    with pytest.raises(ServerExited) as refused:
        start_redis(tmp_path, "--appendonly", "yes").close()
    assert why in refused.value.log
    with pytest.raises(CorruptData, match=why) as error:
        opener()
    assert error.value.path.endswith("appendonlydir/appendonly.aof.manifest")
    assert (tmp_path / "appendonlydir" / "appendonly.aof.manifest").read_bytes() == text.encode()
    assert sorted(path.name for path in (tmp_path / "appendonlydir").iterdir()) == [
        "a",
        "appendonly.aof.manifest",
        "b",
    ]


@pytest.mark.parametrize("text", STRICTER)
def test_what_can_only_be_damage_is_refused(text: str) -> None:
    with pytest.raises(CorruptData):
        manifest.parse(text.encode())


@pytest.mark.behaviour("manifest: grammar", "an error names the line")
def test_the_error_says_which_line(tmp_path: Path) -> None:
    with pytest.raises(CorruptData) as error:
        manifest.parse(b"file a seq 1 type b\nnonsense\n", "somewhere")
    assert str(error.value).startswith("somewhere at offset 20: ")
    assert "line 2 is b'nonsense'" in str(error.value)


def test_a_name_in_any_bytes_can_be_shown(tmp_path: Path, opener: Opener) -> None:
    make(tmp_path, 'file "a\\xc1\\nb" seq 1 type b\n')
    with pytest.raises(CorruptData, match=r"a.*b doesn't exist") as error:
        opener()
    assert str(error.value).isprintable()


NAMES = st.text(min_size=1, max_size=20).filter(
    lambda name: not set(name) & set("/\\\0") and name not in (".", "..") and name.isprintable()
)


@given(
    base=st.none() | st.tuples(NAMES, st.integers(1, 2**62)),
    history=st.lists(st.tuples(NAMES, st.integers(1, 2**62)), max_size=3),
    increments=st.lists(NAMES, max_size=3),
    gap=st.integers(1, 1000),
)
def test_what_is_written_is_read_back(
    base: tuple[str, int] | None, history: list[tuple[str, int]], increments: list[str], gap: int
) -> None:
    written = Manifest()
    if base is not None:
        written.base = Part(*base, BASE)
    written.history = [Part(*pair, HISTORY) for pair in history]
    written.increments = [Part(name, (i + 1) * gap, INCREMENT) for i, name in enumerate(increments)]
    text = manifest.format(written)
    if not text:
        return
    read = manifest.parse(text)
    assert (read.base, read.history, read.increments) == (
        written.base,
        written.history,
        written.increments,
    )
    assert all(len(line) <= manifest.MAX_LINE for line in text.splitlines(keepends=True))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_damage(text: bytes) -> None:
    try:
        manifest.parse(text)
    except CorruptData:
        pass
