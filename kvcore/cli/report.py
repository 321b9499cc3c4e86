"""The page of ``kvcore inspect --html``: one file, charts as inline SVG, no script, no request.

Keys come from whoever wrote the data: everything is escaped.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from html import escape
from typing import Final

from kvcore.cli import offline
from kvcore.cli.survey import OTHERS, TTL_BUCKETS, Prefix, Survey, Tally
from kvcore.cli.terminal import human, moment, plural, printable, shown
from kvcore.version import __version__

WIDTH: Final = 1120
HEIGHT: Final = 520
_TITLE: Final = 24  # height of a group's title in the treemap
_GAP: Final = 2
_LETTER: Final = 7.3  # width of a wide one, 12 px and bold
_COLOURS: Final = 8
_SMALLEST: Final = 0.0008  # of the area; what is smaller is drawn together

_STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #16191f; --soft: #5d6675; --line: #e3e7ed;
  --bar: #3566d6; --over: #c2410c;
  --c0: #3566d6; --c1: #0d8a72; --c2: #b45309; --c3: #8b46c9;
  --c4: #be2f5c; --c5: #0e7fa8; --c6: #5b7d16; --c7: #6b7280;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1217; --card: #171b22; --ink: #e8ebf0; --soft: #98a2b3; --line: #2a303a;
    --bar: #6d95f2; --over: #f59e63;
    --c0: #3f66bd; --c1: #17735f; --c2: #96571b; --c3: #7448a3;
    --c4: #a03a5b; --c5: #1f6d8c; --c6: #566f22; --c7: #565d69;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 40px 24px 56px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
}
main { max-width: 1180px; margin: 0 auto; }
h1 { margin: 0; font-size: 26px; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { margin: 0 0 2px; font-size: 16px; }
p { margin: 0; color: var(--soft); }
header { margin-bottom: 28px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 22px 28px 26px; margin-top: 20px; }
section > p { margin-bottom: 16px; font-size: 13.5px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 16px 20px; }
.tile b { display: block; font-size: 25px; font-weight: 650; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.pair { display: grid; gap: 20px; margin-top: 20px;
  grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); }
.pair section { margin-top: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
.map text { fill: #fff; } .map .size { fill: #fff; opacity: .78; }
.map .name { font-weight: 650; }
.map rect { stroke: var(--card); stroke-width: 1.5; }
.map g:hover > rect { filter: brightness(1.1); }
.chart text { fill: var(--soft); } .chart .count { fill: var(--ink); }
.chart rect { fill: var(--bar); } .chart rect.over { fill: var(--over); }
.chart line { stroke: var(--line); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; font-size: 13px; color: var(--soft); }
th, td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
td.key { white-space: normal; overflow-wrap: anywhere; min-width: 220px;
  font-family: ui-monospace, "SF Mono", Menlo, "DejaVu Sans Mono", monospace; font-size: 13px; }
th.n, td.n { text-align: right; }
td.share { width: 22%; min-width: 110px; padding-right: 0; }
.share i { display: block; height: 8px; border-radius: 4px; background: var(--bar);
  min-width: 2px; }
footer { margin-top: 26px; color: var(--soft); font-size: 13px; }
"""


def page(survey: Survey, source: offline.Source) -> str:
    """The whole page."""
    name = escape(printable(source.path))
    sections = [_header(survey, source, name), _tiles(survey, source)]
    if survey.total.keys:
        sections += [
            _card(
                "Prefixes",
                "Area is the size in a snapshot. Parts of keys that number things count as *.",
                treemap(survey.prefixes),
            ),
            f'<div class="pair">{_sizes(survey)}{_expiry(survey)}</div>',
            _card("Types and encodings", "", _encodings(survey)),
            _card("Largest prefixes", "", _prefixes(survey)),
            _card("Biggest keys", "", _biggest(survey)),
        ]
    made = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name} · kvcore inspect</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(sections)}\n"
        f"<footer>kvcore {__version__} · {made}</footer>\n</main>\n</body>\n</html>\n"
    )


def _header(survey: Survey, source: offline.Source, name: str) -> str:
    about = [source.kind.upper() + " " + source.about.get("version", "")]
    if "made by" in source.about:
        about.append(f"made by {source.about['made by']}")
    about.append(plural(len(survey.databases), "database"))
    text = escape(printable(" · ".join(part.strip() for part in about)))
    return f"<header><h1>{name}</h1><p>{text}</p></header>\n"


def _tiles(survey: Survey, source: offline.Source) -> str:
    total = survey.total
    mean = human(total.bytes / total.keys) if total.keys else "–"
    tiles = [
        (f"{total.keys:,}", "keys"),
        (human(source.size), "on disk"),
        (mean, "a key, on average"),
        (f"{total.elements:,}", "elements"),
        (f"{total.expiring:,}", "keys with expiry"),
        (f"{survey.expired:,}", "of them expired"),
    ]
    made = [f'<div class="tile"><b>{value}</b><span>{what}</span></div>' for value, what in tiles]
    return f'<div class="tiles">{"".join(made)}</div>\n'


def _card(title: str, text: str, body: str) -> str:
    lead = f"<p>{escape(text)}</p>" if text else ""
    return f"<section><h2>{escape(title)}</h2>{lead}{body}</section>\n"


# Treemap ------------------------------------------------------------------------------------------


class Rect:
    """A rectangle in pixels."""

    def __init__(self, x: float, y: float, width: float, height: float) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height

    def svg(self, style: str) -> str:
        return (
            f'<rect style="{style}" x="{self.x:.1f}" y="{self.y:.1f}" rx="3" '
            f'width="{max(0.0, self.width):.1f}" height="{max(0.0, self.height):.1f}"/>'
        )

    def inside(self) -> Rect:
        """What is left below a group's title."""
        return Rect(
            self.x + _GAP,
            self.y + _TITLE,
            self.width - 2 * _GAP,
            self.height - _TITLE - _GAP,
        )


def squarify(sizes: Sequence[float], space: Rect) -> list[Rect]:
    """A rectangle for each size, in falling order, as square as they will go.

    (Bruls, Huizing, van Wijk: Squarified Treemaps, 2000.)
    """
    scale = space.width * space.height / (sum(sizes) or 1)
    areas = [size * scale for size in sizes]
    placed: list[Rect] = []
    start = 0
    while start < len(areas):
        side = min(space.width, space.height)
        end = start + 1
        while end < len(areas) and _worst(areas[start : end + 1], side) <= _worst(
            areas[start:end], side
        ):
            end += 1
        space = _lay(areas[start:end], space, placed)
        start = end
    return placed


def _worst(row: Sequence[float], side: float) -> float:
    """The aspect ratio of the least square rectangle of a row along ``side``."""
    depth = sum(row) / side if side > 0 else 0
    if depth <= 0 or min(row) <= 0:
        return float("inf")
    return max(max(depth * depth / area, area / (depth * depth)) for area in row)


def _lay(row: Sequence[float], space: Rect, placed: list[Rect]) -> Rect:
    """Place a row along the shorter side; returns the space that is left."""
    total = sum(row)
    if space.width >= space.height:
        depth = total / space.height if space.height > 0 else 0
        y = space.y
        for area in row:
            height = area / depth if depth else 0
            placed.append(Rect(space.x, y, depth, height))
            y += height
        return Rect(space.x + depth, space.y, max(0.0, space.width - depth), space.height)
    depth = total / space.width if space.width > 0 else 0
    x = space.x
    for area in row:
        width = area / depth if depth else 0
        placed.append(Rect(x, space.y, width, depth))
        x += width
    return Rect(space.x, space.y + depth, space.width, max(0.0, space.height - depth))


def treemap(root: Prefix) -> str:
    """The tree of prefixes, two levels deep."""
    groups = _visible(root, root.bytes)
    rects = squarify([tally.bytes for _, tally in groups], Rect(0, 0, WIDTH, HEIGHT))
    parts = []
    for i, ((name, tally), rect) in enumerate(zip(groups, rects)):
        colour = i % (_COLOURS - 1) if name != OTHERS else _COLOURS - 1
        parts.append(_group(name, tally, rect, colour, root.bytes))
    return (
        f'<svg class="map" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Treemap of prefixes by size">{"".join(parts)}</svg>'
    )


def _visible(node: Prefix, whole: int) -> list[tuple[str, Tally]]:
    """Children by falling size; the tiny ones, and keys of the node's own, as one."""
    large: list[tuple[str, Tally]] = []
    rest = Tally()
    for name, child in node.largest():
        if child.bytes >= whole * _SMALLEST and name != OTHERS:
            large.append(_descend(name, child))
        else:
            _sum(rest, child)
    below = sum(child.bytes for child in node.children.values())
    if node.bytes > below:
        rest.bytes += node.bytes - below
        rest.keys += node.keys - sum(child.keys for child in node.children.values())
    if rest.bytes:
        large.append((OTHERS, rest))
    return sorted(large, key=lambda item: -item[1].bytes)


def _descend(name: str, node: Prefix) -> tuple[str, Prefix]:
    """A prefix that goes on in one way only, as far as it does."""
    while len(node.children) == 1:
        ((more, child),) = node.children.items()
        if child.keys < node.keys or more == OTHERS:
            break
        name, node = name + more, child
    return name, node


def _sum(into: Tally, tally: Tally) -> None:
    into.keys += tally.keys
    into.bytes += tally.bytes


def _group(path: str, tally: Tally, rect: Rect, colour: int, whole: int) -> str:
    """A prefix and, where there is room, those below it."""
    children = _visible(tally, whole) if isinstance(tally, Prefix) and tally.children else []
    box = _tip(path, tally) + rect.svg(f"fill:var(--c{colour})")
    if len(children) < 2 or rect.width < 60 or rect.height < 60:
        return f"<g>{box}{_label(path, tally, rect)}</g>"
    parts = [f"<g>{box}{_title(path, tally, rect)}"]
    inner = squarify([child.bytes for _, child in children], rect.inside())
    for (name, child), place in zip(children, inner):
        box = _tip(path + name, child) + place.svg("fill:#fff;fill-opacity:.13")
        parts.append(f"<g>{box}{_label(name, child, place)}</g>")
    return "".join(parts) + "</g>"


def _tip(path: str, tally: Tally) -> str:
    text = f"{path}\n{plural(tally.keys, 'key')}, {human(tally.bytes)}"
    return f"<title>{escape(printable(text))}</title>"


def _title(path: str, tally: Tally, rect: Rect) -> str:
    """The line above the children of a group."""
    size = human(tally.bytes)
    room = rect.width - 16 - len(size) * _LETTER - 10
    label = _fit(path, room)
    text = f'<text class="name" x="{rect.x + 8:.1f}" y="{rect.y + 16:.1f}">{label}</text>'
    if room > 0:
        text += (
            f'<text class="size" text-anchor="end" x="{rect.x + rect.width - 8:.1f}" '
            f'y="{rect.y + 16:.1f}">{size}</text>'
        )
    return text


def _label(path: str, tally: Tally, rect: Rect) -> str:
    """Name and size inside a rectangle, as far as there is room."""
    label = _fit(path, rect.width - 14)
    if not label or rect.height < 20:
        return ""
    text = f'<text class="name" x="{rect.x + 8:.1f}" y="{rect.y + 17:.1f}">{label}</text>'
    size = human(tally.bytes)
    if rect.height >= 38 and len(size) * _LETTER < rect.width - 14:
        text += f'<text class="size" x="{rect.x + 8:.1f}" y="{rect.y + 33:.1f}">{size}</text>'
    return text


def _fit(text: str, width: float) -> str:
    """As much of a text as fits, escaped; nothing if that would say nothing."""
    text = printable(text)
    room = int(width / _LETTER)
    if len(text) <= room:
        return escape(text)
    return escape(text[: room - 1] + "…") if room >= 4 else ""


# Histograms ---------------------------------------------------------------------------------------


def _sizes(survey: Survey) -> str:
    counts = survey.histogram()
    return _card(
        "Sizes", "Keys by their size in a snapshot, up to what is below the bar.", bars(counts)
    )


def _expiry(survey: Survey) -> str:
    total = survey.total
    if not total.expiring:
        return _card("Expiry", "No key has an expiry.", "")
    counts = [(name, count) for (name, _), count in zip(TTL_BUCKETS, survey.ttl)]
    without = plural(total.keys - total.expiring, "key")
    text = f"Keys by the time left, up to what is below the bar; {without} without expiry."
    return _card("Expiry", text, bars(counts, over=True))


def bars(counts: Sequence[tuple[str, int]], *, over: bool = False) -> str:
    """A histogram; ``over``: the first bar is of keys whose time is over."""
    width, height, base = 520, 230, 190
    most = max([count for _, count in counts], default=0) or 1
    step = width / max(1, len(counts))
    in_lines = any([len(name) * _LETTER > step - 6 for name, _ in counts])
    parts = [f'<line x1="0" x2="{width}" y1="{base}" y2="{base}"/>']
    for i, (name, count) in enumerate(counts):
        tall = 150 * count / most if count else 0
        tall = max(tall, 2.0) if count else 0.0
        middle = step * (i + 0.5)
        css = ' class="over"' if over and i == 0 else ""
        tip = f"<title>{escape(name)}: {plural(count, 'key')}</title>"
        parts.append(
            f'<g>{tip}<rect{css} x="{middle - step * 0.36:.1f}" y="{base - tall:.1f}" rx="3" '
            f'width="{step * 0.72:.1f}" height="{tall:.1f}"/>'
        )
        if count:
            parts.append(
                f'<text class="count" text-anchor="middle" x="{middle:.1f}" '
                f'y="{base - tall - 7:.1f}">{_short(count)}</text>'
            )
        parts.append("</g>" + _tick(name.split(" ") if in_lines else [name], middle, base))
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Histogram">{"".join(parts)}</svg>'
    )


def _tick(lines: list[str], middle: float, base: int) -> str:
    """A label below the axis."""
    start = f'<text text-anchor="middle" x="{middle:.1f}"'
    return "".join(
        f'{start} y="{base + 18 + 15 * i}">{escape(line)}</text>' for i, line in enumerate(lines)
    )


def _short(count: int) -> str:
    """A count that fits above a bar."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**4, "k")):
        if count >= size:
            return f"{count / (1000 if unit == 'k' else size):.3g}{unit}"
    return str(count)


# Tables -------------------------------------------------------------------------------------------


def _encodings(survey: Survey) -> str:
    items = sorted(survey.encodings.items(), key=lambda item: -item[1].bytes)
    rows = [([kind, encoding], tally) for (kind, encoding), tally in items]
    return _tallies(["type", "encoding"], rows, survey.total.bytes)


def _prefixes(survey: Survey) -> str:
    rows = [([name], prefix) for name, prefix in survey.prefix_rows(25)]
    return _tallies(["prefix"], rows, survey.total.bytes)


def _tallies(titles: list[str], rows: Sequence[tuple[list[str], Tally]], whole: int) -> str:
    head = "".join(f"<th>{title}</th>" for title in titles)
    head += '<th class="n">keys</th><th class="n">elements</th><th class="n">expiring</th>'
    head += '<th class="n">size</th><th></th>'
    lines = []
    for names, tally in rows:
        cells = "".join(f'<td class="key">{escape(printable(name))}</td>' for name in names)
        numbers = (f"{tally.keys:,}", f"{tally.elements:,}", f"{tally.expiring:,}")
        cells += "".join(f'<td class="n">{number}</td>' for number in numbers)
        cells += f'<td class="n">{human(tally.bytes)}</td>'
        share = 100 * tally.bytes / (whole or 1)
        cells += f'<td class="share"><i style="width:{share:.1f}%" title="{share:.1f} %"></i></td>'
        lines.append(f"<tr>{cells}</tr>")
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _biggest(survey: Survey) -> str:
    head = (
        '<th>key</th><th class="n">db</th><th>type</th><th class="n">elements</th>'
        '<th>expires</th><th class="n">size</th>'
    )
    lines = []
    for big in survey.biggest:
        name = shown(big.key[:256]) + ("…" if len(big.key) > 256 else "")
        when = moment(big.expiry / 1000) if big.expiry >= 0 else ""
        lines.append(
            f'<tr><td class="key">{escape(printable(name))}</td><td class="n">{big.db}</td>'
            f"<td>{escape(big.type)} · {escape(big.encoding)}</td>"
            f'<td class="n">{big.elements:,}</td><td>{escape(when)}</td>'
            f'<td class="n">{human(big.size)}</td></tr>'
        )
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'
