"""``kvcore advise``: three questions, and the configuration that answers them."""

from __future__ import annotations

from typing import Final

import click

from kvcore.cli.terminal import OK, say, say_json

LOSS: Final = ("nothing", "seconds", "minutes", "everything")
RESTART: Final = ("fast", "any")
WRITES: Final = ("few", "many")

_FIGURES: Final = "What each policy costs and loses, measured: docs/which-policy.md of kvcore"

_QUESTIONS: Final = {
    "loss": "How much of what was written may a crash lose?",
    "restart": "How fast must it be back after a restart?",
    "writes": "How hot are the writes?",
}


@click.command("advise", short_help="Choose a persistence by three questions.")
@click.option("--loss", type=click.Choice(LOSS), help=_QUESTIONS["loss"])
@click.option("--restart", type=click.Choice(RESTART), help=_QUESTIONS["restart"])
@click.option("--writes", type=click.Choice(WRITES), help=_QUESTIONS["writes"])
@click.option("--json", "as_json", is_flag=True, help="Print the directives as an object.")
def command(loss: str | None, restart: str | None, writes: str | None, as_json: bool) -> int:
    """Choose a persistence: asks what no option answers, and prints lines for kvcore.conf.

    Questions go to standard error, so `kvcore advise > kvcore.conf` works. The figures behind the
    advice are in docs/which-policy.md.
    """
    loss = loss or _ask("loss", LOSS)
    if loss == "everything":  # then nothing is written, and the rest does not matter
        restart, writes = restart or "any", writes or "many"
    restart = restart or _ask("restart", RESTART)
    writes = writes or _ask("writes", WRITES)
    lines = advice(loss, restart, writes)
    if as_json:
        say_json({name: value for name, value, _ in lines})
        return OK
    say(f"# kvcore advise --loss {loss} --restart {restart} --writes {writes}")
    say(f"# {_FIGURES}")
    for name, value, why in lines:
        say(f"\n# {why}\n{name} {value}" if why else f"{name} {value}")
    return OK


def _ask(what: str, choices: tuple[str, ...]) -> str:
    answer: str = click.prompt(
        _QUESTIONS[what], type=click.Choice(choices), default=choices[1], err=True
    )
    return answer


def advice(loss: str, restart: str, writes: str) -> list[tuple[str, str, str]]:
    """(directive, value, reason) in order; the reason may be empty."""
    if loss == "everything":
        return [("persistence", "none", "Nothing is written: fastest, and empty at every start.")]
    if loss == "minutes":
        return _snapshots(writes)
    return _log(loss, restart, writes)


def _snapshots(writes: str) -> list[tuple[str, str, str]]:
    points = "300 1 60 10000" if writes == "many" else "900 1 300 10 60 10000"
    return [
        (
            "persistence",
            "rdb",
            "Snapshots: a compact file that loads fastest, and no cost between two of them.",
        ),
        (
            "save",
            points,
            "Seconds and changes: whichever pair is reached first bounds what a crash loses.",
        ),
        (
            "stop-writes-on-bgsave-error",
            "yes",
            "Refuse writes while snapshots fail: noticed at once rather than after a crash.",
        ),
    ]


def _log(loss: str, restart: str, writes: str) -> list[tuple[str, str, str]]:
    if loss == "nothing":
        sync = "No answer before its write is on disk. Clients that write together share a sync."
    else:
        sync = "A sync each second beside the writes: a crash loses about two seconds at most."
    lines = [
        (
            "persistence",
            "hybrid",
            "A log of every write to start from, and snapshots as backups beside it.",
        ),
        ("appendfsync", "always" if loss == "nothing" else "everysec", sync),
        ("save", "3600 1", "A snapshot an hour for backups; the log is what a start loads."),
        (
            "snapshot-filename",
            "dump-%Y%m%d-%H%M%S.rdb",
            "The newest is dump.rdb, and those before it stay under the names of their times.",
        ),
        ("snapshot-keep", "3", ""),
        (
            "aof-use-rdb-preamble",
            "yes",
            "The rewritten part of the log is a snapshot, which loads about five times faster.",
        ),
    ]
    if restart == "fast":
        percentage, size = ("100", "64mb") if writes == "many" else ("50", "16mb")
        why = "A start runs the commands since the last rewrite: rewrite early."
    else:
        percentage, size = ("200", "512mb") if writes == "many" else ("100", "64mb")
        why = "A rewrite reads all data: rewrite when the log has outgrown it well."
    lines += [
        ("auto-aof-rewrite-percentage", percentage, why),
        ("auto-aof-rewrite-min-size", size, ""),
        (
            "aof-timestamp-enabled",
            "yes",
            "Timestamps let kvcore restore --to bring back an earlier moment.",
        ),
    ]
    return lines
