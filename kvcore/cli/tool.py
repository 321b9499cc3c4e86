"""``kvcore``: finds the subcommand, and turns every error into one sentence and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

import click

from kvcore.cli.terminal import DAMAGED, INTERRUPTED, OK, UNREADABLE, warn
from kvcore.errors import CorruptData, EmptyValue, KvcoreError
from kvcore.resp import FORM
from kvcore.version import REDIS_VERSION, __version__

SUBCOMMANDS: Final = (
    "check",
    "repair",
    "convert",
    "inspect",
    "diff",
    "restore",
    "snapshot",
    "plugins",
    "advise",
    "server",
)

_BROKEN_PIPE: Final = 141  # as a shell reports a process that SIGPIPE ended


class _Group(click.Group):
    """Subcommands by name, each imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        if cmd_name == "server":
            return _server
        module = importlib.import_module(f"kvcore.cli.{cmd_name}")
        command: click.Command = module.command
        return command


@click.command("server", add_help_option=False)
def _server() -> None:
    """Run the server: the same as kvcore-server."""  # `kvcore.cli.main` runs it


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(
    __version__,
    "-v",
    "--version",
    message=f"kvcore %(version)s (Redis {REDIS_VERSION} compatible, {FORM})",
)
def group() -> None:
    """Tools for data files: RDB, AOF, folders of either, and JSON lines.

    Exit codes: 0 all is well, 1 damaged or different, 2 wrong usage, 3 cannot read or write.
    """


def run(args: Sequence[str]) -> int:
    """Run one command line; returns the exit code."""
    try:
        # Not group.main(), which ends the process with 1 when a pipe breaks.
        with group.make_context("kvcore", list(args)) as context:
            code = group.invoke(context)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except click.exceptions.Exit as error:  # --help and --version
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        warn("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has seen enough; the interpreter must not flush into it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except (KvcoreError, OSError, ModuleNotFoundError) as error:
        warn(sentence(error))
        return exit_code(error)


def sentence(error: BaseException) -> str:
    """What went wrong, for a person."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{os.fsdecode(where)}{error.strerror}"
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").partition(".")[0]
        if not package.startswith("kvcore_"):
            raise error
        name = package.replace("_", "-")
        return f"this needs the plugin {name}, which is not installed: pip install {name}"
    return str(error)


def exit_code(error: BaseException) -> int:
    """1 for damage, 3 for what cannot be read at all."""
    if type(error) in (CorruptData, EmptyValue):
        return DAMAGED
    return UNREADABLE  # also a CorruptData of a narrower class: whole, but not supported
