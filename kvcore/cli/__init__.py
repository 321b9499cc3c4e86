"""The command-line tools: ``kvcore-server`` (`kvcore.cli.server`) and ``kvcore``."""

from __future__ import annotations

import sys


def main() -> int:
    """``kvcore``: so far ``kvcore server …``, the same as kvcore-server."""
    from kvcore.cli import server

    if sys.argv[1:2] == ["server"]:
        return server.main(sys.argv[2:])
    print(f"usage: kvcore server [{server.USAGE}]", file=sys.stderr)
    return 2
