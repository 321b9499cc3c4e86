"""The command-line tools: ``kvcore-server`` (`kvcore.cli.server`) and ``kvcore``.

``kvcore`` is one command with a module for each subcommand; `kvcore.cli.tool` finds them,
`kvcore.cli.offline` reads data files without a store, `kvcore.cli.terminal` holds the exit codes
and talks to the person.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """``kvcore SUBCOMMAND …``; returns the exit code (see `kvcore.cli.terminal`)."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] == ["server"]:
        from kvcore.cli import server

        return server.main(args[1:])
    from kvcore.cli import tool

    return tool.run(args)
