"""What a part of the benchmark found, as Markdown and as plots."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

_T = TypeVar("_T")

REDIS_COLOUR = "#9aa5b1"
COLOURS = ("#1f6fb2", "#e07b39", "#3c9d6b", "#8a5fb5", "#c2476b", "#6b6b6b")


class Effort(NamedTuple):
    """How much to measure: ``--quick`` for a look, ``--full`` for hours."""

    quick: bool = False
    full: bool = False

    def pick(self, quick: _T, normal: _T) -> _T:
        return quick if self.quick else normal


class Target(NamedTuple):
    """Something that kvcore promises: a measured value and its limit."""

    text: str
    value: float
    limit: float
    at_least: bool = False  # the limit is a lower one

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


class Table(NamedTuple):
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


class Chart(NamedTuple):
    """Bars (one group a label) or, with ``x``, lines; one series a name."""

    name: str
    title: str
    y: str
    series: Mapping[str, Sequence[float]]
    labels: Sequence[str] = ()
    x: Sequence[float] = ()
    x_name: str = ""
    line: float | None = None  # where Redis is
    logarithmic: bool = False


class Part(NamedTuple):
    title: str
    text: str
    targets: Sequence[Target]
    tables: Sequence[Table]
    charts: Sequence[Chart]
    failures: Sequence[str] = ()  # not slow but wrong: the run exits with 1


Run = Callable[[Effort], Part]


def build() -> str:
    """How the installed kvcore runs: "compiled" or "plain" and so on, as it says itself."""
    version = [sys.executable, "-m", "kvcore", "--version"]
    out = subprocess.run(version, check=True, capture_output=True, text=True, cwd="/")
    return out.stdout.strip()


def is_compiled() -> bool:
    return "build=compiled" in build()


def surroundings() -> str:
    """The machine and the versions, in one line."""
    redis = subprocess.run(
        ["redis-server", "--version"], check=True, capture_output=True, text=True
    )
    cpu = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return (
        f"{time.strftime('%Y-%m-%d')}. {build()}; Python {platform.python_version()}; "
        f"{redis.stdout.split(' malloc')[0]}. {os.cpu_count()} × {cpu}, Linux {platform.release()}."
    )


def progress(text: object) -> None:
    """Say on the terminal what is being measured."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# Markdown --------------------------------------------------------------------------------------


def number(value: object) -> str:
    """Three digits that count."""
    if not isinstance(value, float):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, aligned so that a terminal shows it well: text left, figures right."""
    cells = [list(header), *([number(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [_row(cells[0], widths)]
    lines.append("|" + "|".join(_rule(n, width) for n, width in enumerate(widths)) + "|")
    lines += [_row(row, widths) for row in cells[1:]]
    return "\n".join(lines)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
    return "| " + " | ".join([first, *rest]) + " |"


def _rule(column: int, width: int) -> str:
    return "-" * (width + 2) if column == 0 else "-" * (width + 1) + ":"


def verdicts(targets: Sequence[Target]) -> str:
    rows = [
        (
            target.text,
            f"{'≥' if target.at_least else '≤'} {number(float(target.limit))}",
            target.value,
            "yes" if target.met else "**no**",
        )
        for target in targets
    ]
    return table(["what", "asked", "measured", "met"], rows)


def markdown(part: Part) -> str:
    """One part as a section of a page; its plots lie beside the page."""
    pieces = [f"## {part.title}", part.text]
    if part.targets:
        pieces.append(verdicts(part.targets))
    for failure in part.failures:
        pieces.append(f"**Failed:** {failure}")
    for chart in part.charts:
        pieces.append(f"![{chart.title}]({chart.name}.png)")
    for entry in part.tables:
        pieces.append(f"### {entry.title}")
        if entry.note:
            pieces.append(entry.note)
        pieces.append(table(entry.header, entry.rows))
    return "\n\n".join(pieces) + "\n"


# Plots -----------------------------------------------------------------------------------------


def draw(chart: Chart, folder: Path) -> Path:
    """Write the chart as a PNG."""
    wide = 11 if chart.labels and len(chart.labels) > 6 else 7.5
    figure, axes = pyplot.subplots(figsize=(wide, 4.2), dpi=120, layout="constrained")
    if chart.x:
        _lines(axes, chart)
    else:
        _bars(axes, chart)
    if chart.line is not None:
        axes.axhline(chart.line, color="#333333", linewidth=1, zorder=1)
    if chart.logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_title(chart.title, fontsize=11, loc="left")
    axes.set_ylabel(chart.y)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(chart.series) > 1:
        axes.legend(frameon=False, fontsize=9, ncols=3)
    path = folder / f"{chart.name}.png"
    figure.savefig(path)
    pyplot.close(figure)
    return path


def _colour(name: str, position: int) -> str:
    return REDIS_COLOUR if name.startswith("redis") else COLOURS[position % len(COLOURS)]


def _lines(axes: Axes, chart: Chart) -> None:
    for position, (name, values) in enumerate(chart.series.items()):
        style = "--" if name.startswith("redis") else "-"
        # A command has one colour, whichever server runs it.
        colour = COLOURS[position // 2 % len(COLOURS)]
        axes.plot(chart.x, values, style, marker="o", markersize=4, label=name, color=colour)
    axes.set_xscale("log")
    axes.set_xlabel(chart.x_name)


def _bars(axes: Axes, chart: Chart) -> None:
    width = 0.8 / len(chart.series)
    for position, (name, values) in enumerate(chart.series.items()):
        places = [n - 0.4 + width * (position + 0.5) for n in range(len(values))]
        bars = axes.bar(places, values, width, label=name, color=_colour(name, position))
        if len(chart.labels) * len(chart.series) <= 24:
            axes.bar_label(bars, labels=[number(float(v)) for v in values], fontsize=7, padding=1)
    axes.set_xticks(range(len(chart.labels)))
    slanted = sum(map(len, chart.labels)) > 90
    axes.set_xticklabels(
        chart.labels,
        fontsize=8,
        rotation=35 if slanted else 0,
        ha="right" if slanted else "center",
    )


# The command line of a part --------------------------------------------------------------------


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="less data and fewer rounds")
    parser.add_argument("--full", action="store_true", help="every combination, and 10⁷ keys")
    parser.add_argument("--out", type=Path, help="write the page and its plots to this folder")
    return parser


def write(page: str, parts: Sequence[Part], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.md").write_text(page, encoding="utf-8")
    for part in parts:
        for chart in part.charts:
            draw(chart, folder)


def main(run: Run, doc: str | None) -> None:
    """A part as a command of its own."""
    args = arguments((doc or "").splitlines()[0]).parse_args()
    part = run(Effort(args.quick, args.full))
    page = f"{surroundings()}\n\n{markdown(part)}"
    print(page)
    if args.out:
        write(page, [part], args.out)
    sys.exit(1 if part.failures else 0)
