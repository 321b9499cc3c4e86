"""``kvcore inspect``: counts are those of redis-server, and the page needs nothing but itself."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kvcore.cli import report
from kvcore.cli.survey import MAX_CHILDREN, OTHERS, Survey
from tests.cli.conftest import Run
from tests.support import start_redis


def test_it_counts_what_redis_counts(folder: Path, run: Run) -> None:
    found = run("inspect", "--json", folder / "dump.rdb").json
    encodings: Counter[tuple[str, str]] = Counter()
    elements: Counter[str] = Counter()
    expiring = 0
    length = {"list": "LLEN", "set": "SCARD", "zset": "ZCARD", "hash": "HLEN"}
    with start_redis(folder) as server:
        client = server.client()
        for db in (0, 3):
            client.select(db)
            for key in client.keys():
                kind = client.type(key).decode()
                encodings[kind, client.object("encoding", key).decode()] += 1
                elements[kind] += client.execute_command(length[kind], key) if kind in length else 1
                expiring += client.pttl(key) >= 0
    assert found["keys"] == sum(encodings.values()) == 601
    assert found["expiring"] == expiring
    assert {name: tally["elements"] for name, tally in found["types"].items()} == elements
    ours: Counter[tuple[str, str]] = Counter()
    for entry in found["encodings"]:
        # Of a list kvcore tells the encoding of Redis 7.2 on, 7.0 has one for all.
        encoding = "quicklist" if entry["type"] == "list" else entry["encoding"]
        ours[entry["type"], encoding] += entry["keys"]
    assert {k: n for k, n in ours.items() if k[0] != "set"} == {
        k: n for k, n in encodings.items() if k[0] != "set"
    }
    assert {db: tally["keys"] for db, tally in found["databases"].items()} == {"0": 600, "3": 1}
    prefixes = {entry["prefix"]: entry["keys"] for entry in found["prefixes"]}
    assert prefixes["hash:"] == 120
    sizes = [entry["bytes"] for entry in found["biggest"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(entry["keys"] for entry in found["sizes"]) == 601
    assert sum(entry["keys"] for entry in found["expires_within"]) == expiring


def test_sizes_are_what_keys_take_in_a_snapshot(folder: Path, run: Run) -> None:
    path = folder / "dump.rdb"
    found = run("inspect", "--json", path).json
    assert math.isclose(found["bytes"], path.stat().st_size, rel_tol=0.02)


def lines(path: Path, keys: list[str], **fields: object) -> Path:
    records = [{"db": 0, "key": key, "type": "string", "value": "v" * 50, **fields} for key in keys]
    path.write_text("\n".join(json.dumps(record) for record in records))
    return path


def test_parts_that_number_things_are_one_prefix(tmp_path: Path, run: Run) -> None:
    keys = [f"user:{n}:cart" for n in range(30)] + [f"user:{n}:name" for n in range(20)]
    keys += [f"s:{n:032x}" for n in range(10)] + ["app/x:6f9619ff-8b86-d011-b42d-00c04fc964ff:z"]
    found = run("inspect", "--json", lines(tmp_path / "a.jsonl", [*keys, "alone"])).json
    assert {entry["prefix"]: entry["keys"] for entry in found["prefixes"]} == {
        **{"user:*:": 50, "user:*:cart": 30, "user:*:name": 20, "s:": 10},
        **{"app/x:*:z": 1, "(no prefix)": 1},
    }
    found = run("inspect", "--json", "--separator", "/", tmp_path / "a.jsonl").json
    assert "app/" in {entry["prefix"] for entry in found["prefixes"]}


def test_the_text_is_for_people(folder: Path, run: Run) -> None:
    result = run("inspect", "--top", 3, folder / "dump.rdb")
    assert result.code == 0
    assert "601 keys in 2 databases" in result.out
    assert "RDB version 10, made by Redis 7.0" in result.out
    assert result.out.count("(quicklist)") + result.out.count("(listpack)") > 0
    assert run("inspect", "--separator", "", folder).code == 2
    assert run("inspect", folder / "missing").code == 3


def test_an_empty_data_set_has_a_report_too(tmp_path: Path, run: Run) -> None:
    empty = tmp_path / "a.jsonl"
    empty.write_bytes(b"")
    result = run("inspect", empty, "--html", tmp_path / "a.html")
    assert result.code == 0
    assert "0 keys" in result.out
    assert "<svg" not in (tmp_path / "a.html").read_text()


# The page -----------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects tags and attributes, and checks that tags are closed in order."""

    VOID = ("meta", "rect", "line")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_keys_cannot_write_into_it(tmp_path: Path, run: Run) -> None:
    evil = [
        "<script>alert(1)</script>:1:x",
        '"onload="x:1',
        "</svg></title><b>:2",
        "\x1b[31m:a\x00b",
    ]
    source = lines(tmp_path / "a.jsonl", [*evil, *[f"k:{n}" for n in range(50)]], ttl=10**15)
    assert run("inspect", source, "--html", tmp_path / "a.html").code == 0
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert not page.tags.keys() & {"script", "link", "img", "iframe", "object", "embed"}
    assert page.tags["svg"] == 3
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "href", "xlink:href", "srcset", "action", "data"}
    assert not [name for name in names if name.startswith("on")]
    assert not re.search(r"https?:|url\(|@import", text)
    assert "\x1b" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;:" in text
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(svg)


def test_the_page_is_written_whole_over_an_older_one(folder: Path, run: Run) -> None:
    target = folder / "report.html"
    target.write_text("old")
    assert run("inspect", folder, "--html", target).code == 0
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    (folder / "dump.rdb").write_bytes(b"REDIS")
    assert run("inspect", folder / "dump.rdb", "--html", target).code == 1
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert not list(folder.glob("temp-*"))


@given(
    st.lists(st.floats(1, 1e6), min_size=1, max_size=60).map(lambda x: sorted(x, reverse=True)),
    st.floats(50, 2000),
    st.floats(50, 2000),
)
def test_a_treemap_fills_its_space_in_proportion(
    sizes: list[float], width: float, height: float
) -> None:
    rects = report.squarify(sizes, report.Rect(0, 0, width, height))
    assert len(rects) == len(sizes)
    area = width * height
    for size, rect in zip(sizes, rects, strict=True):
        share = size / sum(sizes) * area
        assert math.isclose(rect.width * rect.height, share, rel_tol=1e-3, abs_tol=area * 1e-6)
        assert rect.x >= -1e-6
        assert rect.y >= -1e-6
        assert rect.x + rect.width <= width * (1 + 1e-6)
        assert rect.y + rect.height <= height * (1 + 1e-6)
    first = rects[0]
    for other in rects[1:]:
        apart = other.x >= first.x + first.width - 1e-6 or other.y >= first.y + first.height - 1e-6
        assert apart


def test_prefixes_do_not_grow_with_the_keys() -> None:
    survey = Survey()
    for number in range(3000):
        survey.visit(0, b"p%c%d:x:y" % (97 + number % 26, number), b"v", -1)
    survey.finish()
    assert len(survey.prefixes.children) <= MAX_CHILDREN + 1
    assert survey.prefixes.children[OTHERS].keys >= 3000 - MAX_CHILDREN
    assert sum(child.keys for child in survey.prefixes.children.values()) == 3000
