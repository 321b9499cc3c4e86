"""``kvcore inspect``: what keys there are, what takes the room, and what expires."""

from __future__ import annotations

import time
from typing import Any

import click

from kvcore.cli import offline, output
from kvcore.cli.jsonlines import pack
from kvcore.cli.survey import TTL_BUCKETS, Big, Survey, Tally
from kvcore.cli.terminal import (
    OK,
    human,
    moment,
    plural,
    printable,
    progress,
    say,
    say_json,
    shown,
    table,
    warn,
)


@click.command("inspect", short_help="Tell what a data set is made of.")
@click.argument("path", metavar="FILE|FOLDER")
@click.option("--html", type=click.Path(), metavar="REPORT.html", help="Write a page with charts.")
@click.option("--top", type=click.IntRange(1, 10_000), default=20, help="How many big keys.")
@click.option("--separator", default=":", help="What ends a prefix of a key.")
@click.option("--json", "as_json", is_flag=True, help="Print an object.")
def command(path: str, html: str | None, top: int, separator: str, as_json: bool) -> int:
    """Tell what a data set is made of: types, encodings, sizes, expiry, big keys and prefixes.

    A size is what the key takes in a snapshot (compressed). Parts of keys that number things
    (user:1000:cart) count as *.
    """
    if not separator:
        raise click.UsageError("--separator must not be empty")
    source = offline.find(path)
    survey = Survey(separator.encode(), top)
    with progress(f"Reading {path}") as watch:
        source.each(survey.visit, watch)
    survey.finish()
    for warning in source.warnings:
        warn(warning)
    if html:
        from kvcore.cli.report import page

        with output.new_file(html) as append:
            append(page(survey, source).encode())
    if as_json:
        say_json(as_object(survey, source, top))
    else:
        for line in as_text(survey, source, top):
            say(line)
    if html:
        warn(f"the report is {html}")
    return OK


def headline(survey: Survey, source: offline.Source) -> str:
    """The data set in one line."""
    about = [source.kind.upper()]
    if "version" in source.about:
        about[0] += f" version {source.about['version']}"
    if "made by" in source.about:
        about.append(f"made by {source.about['made by']}")
    about.append(f"{human(source.size)} on disk")
    return f"{printable(source.path)}: {', '.join(about)}"


# For people ---------------------------------------------------------------------------------------


def as_text(survey: Survey, source: offline.Source, top: int) -> list[str]:
    total = survey.total
    lines = [
        headline(survey, source),
        f"{plural(total.keys, 'key')} in {plural(len(survey.databases), 'database')}, "
        f"{plural(total.elements, 'element')}; {plural(total.expiring, 'key')} with expiry, "
        f"{survey.expired:,} of them expired",
    ]
    if not total.keys:
        return lines
    lines += ["", *_tallies("type", {f"{t} ({e})": x for (t, e), x in survey.encodings.items()})]
    if len(survey.databases) > 1:
        by_number = {str(db): tally for db, tally in sorted(survey.databases.items())}
        lines += ["", *_tallies("database", by_number, ordered=True)]
    lines += ["", *_tallies("prefix", dict(survey.prefix_rows(top)), ordered=True)]
    lines += ["", *_biggest(survey.biggest)]
    lines += ["", *_bars("size below", survey.histogram())]
    if total.expiring:
        left = [(name, count) for (name, _), count in zip(TTL_BUCKETS, survey.ttl)]
        lines += ["", *_bars("expires within", left)]
    return lines


def _tallies(title: str, tallies: dict[str, Any], *, ordered: bool = False) -> list[str]:
    items = list(tallies.items())
    if not ordered:
        items.sort(key=lambda item: -item[1].bytes)
    rows = [(title, "keys", "size", "mean", "elements", "expiring")]
    for name, tally in items:
        mean = human(tally.bytes / tally.keys)
        row = (f"{tally.keys:,}", human(tally.bytes), mean, f"{tally.elements:,}")
        rows.append((name, *row, f"{tally.expiring:,}"))
    return table(rows, " rrrrr")


def _biggest(biggest: list[Big]) -> list[str]:
    rows = [("biggest keys", "db", "size", "elements", "type", "expires")]
    for big in biggest:
        when = moment(big.expiry / 1000) if big.expiry >= 0 else ""
        name = shown(big.key[:128]) + ("…" if len(big.key) > 128 else "")
        kind = f"{big.type} ({big.encoding})"
        rows.append((name, str(big.db), human(big.size), f"{big.elements:,}", kind, when))
    return table(rows, " rrr")


def _bars(title: str, counts: list[tuple[str, int]]) -> list[str]:
    most = max(count for _, count in counts) or 1
    rows = [(title, "keys", "")]
    rows += [(name, f"{count:,}", "█" * -(-count * 40 // most)) for name, count in counts]
    return table(rows, "rr")


# For programs -------------------------------------------------------------------------------------


def as_object(survey: Survey, source: offline.Source, top: int) -> dict[str, Any]:
    return {
        "path": source.path,
        "kind": source.kind,
        **{name.replace(" ", "_"): value for name, value in source.about.items()},
        "time": int(time.time()),
        "file_size": source.size,
        **_fields(survey.total),
        "expired": survey.expired,
        "types": {name: _fields(tally) for name, tally in sorted(survey.types.items())},
        "encodings": [
            {"type": name, "encoding": encoding, **_fields(tally)}
            for (name, encoding), tally in sorted(survey.encodings.items())
        ],
        "databases": {str(db): _fields(tally) for db, tally in sorted(survey.databases.items())},
        "prefixes": [
            {"prefix": name, **_fields(prefix)} for name, prefix in survey.prefix_rows(top)
        ],
        "biggest": [
            {
                "db": big.db,
                "key": pack(big.key),
                "type": big.type,
                "encoding": big.encoding,
                "bytes": big.size,
                "elements": big.elements,
                **({"ttl": big.expiry} if big.expiry >= 0 else {}),
            }
            for big in survey.biggest
        ],
        "sizes": [{"below": name, "keys": count} for name, count in survey.histogram()],
        "expires_within": [
            {"within": name, "keys": count} for (name, _), count in zip(TTL_BUCKETS, survey.ttl)
        ],
    }


def _fields(tally: Tally) -> dict[str, int]:
    return {
        "keys": tally.keys,
        "bytes": tally.bytes,
        "elements": tally.elements,
        "expiring": tally.expiring,
    }
