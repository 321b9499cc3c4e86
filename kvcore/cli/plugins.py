"""``kvcore plugins``: which persistence policies are installed, and what each promises."""

from __future__ import annotations

import inspect
import re
import sys
from importlib.metadata import EntryPoint
from typing import Any, Final

import click

from kvcore import plugins
from kvcore.cli.terminal import DAMAGED, OK, say, say_json, table
from kvcore.errors import PluginError

# A sentence that says what one may rely on.
_PROMISE: Final = re.compile(r"(?:What it promises|What survives|It promises|Promises)\b")

_KEEPS: Final = {
    "commands": "every write, as commands",
    "keys": "every write, as changed keys",
    "": "snapshots only",
}


@click.command("plugins", short_help="List the installed persistence policies.")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
def command(as_json: bool) -> int:
    """List the installed persistence policies: distribution, version, and what each promises.

    Exit codes: 0 all of them can be used, 1 one cannot.
    """
    found = [_describe(name, entry) for name, entry in sorted(plugins.installed().items())]
    if as_json:
        say_json(found)
    else:
        for line in _text(found):
            say(line)
    return DAMAGED if any([plugin["error"] for plugin in found]) else OK


def _describe(name: str, entry: EntryPoint) -> dict[str, Any]:
    dist = entry.dist
    record: dict[str, Any] = {
        "name": name,
        "distribution": dist.name if dist is not None else None,
        "version": dist.version if dist is not None else None,
        "summary": dist.metadata["Summary"] if dist is not None else None,
        "class": entry.value,
        "error": None,
    }
    try:
        policy = plugins.load_policy(name)
    except PluginError as error:
        return record | {"error": str(error)}
    module = sys.modules[policy.__module__]
    return record | {
        "api": policy.api,
        "keeps": "nothing" if name == "none" else _KEEPS[policy.log],
        "options": [option.name for option in policy.options],
        "promise": _promise(module.__doc__, policy.__doc__),
    }


def _promise(*docstrings: str | None) -> str:
    """What the documentation says survives; without such a word, how it begins."""
    paragraphs = [
        " ".join(paragraph.split()).replace("`", "").replace(" * ", " • ")
        for text in docstrings
        for paragraph in inspect.cleandoc(text or "").split("\n\n")
    ]
    for i, paragraph in enumerate(paragraphs):
        found = _PROMISE.search(paragraph)
        if found is not None:
            text = paragraph[found.start() :]
            return " ".join([text, *paragraphs[i + 1 : i + 2]]) if text.endswith(":") else text
    return " ".join(paragraphs[:2])


def _text(found: list[dict[str, Any]]) -> list[str]:
    if not found:
        return ["No persistence policy is installed: pip install kvcore-rdb kvcore-aof"]
    rows = [("persistence", "distribution", "version", "keeps")]
    for plugin in found:
        keeps = "cannot be used" if plugin["error"] else str(plugin["keeps"])
        row = (plugin["name"], plugin["distribution"] or "?", plugin["version"] or "?", keeps)
        rows.append(row)
    lines = table(rows)
    for plugin in found:
        lines += ["", f"{plugin['name']}: {plugin['error'] or plugin['promise']}"]
        if plugin.get("options"):
            lines.append(f"    options: {', '.join(plugin['options'])}")
    return lines
