"""``kvcore-server [file|-] [--directive args…]``: as redis-server takes its arguments."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from kvcore.config import Config, format_fatal
from kvcore.errors import ConfigError, KvcoreError
from kvcore.resp import COMPILED
from kvcore.version import REDIS_VERSION, __version__

USAGE = "/path/to/kvcore.conf | - ] [--directive args ..."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args[:1] in (["-v"], ["--version"]):
        form = "compiled" if COMPILED else "plain"
        print(f"kvcore server v={__version__} redis={REDIS_VERSION} bits=64 build={form}")
        return 0
    config = Config(hold_unknown=True)
    try:
        config.load_argv(args)
    except ConfigError as error:
        print(format_fatal(error), file=sys.stderr)
        return 1
    from kvcore.cli import logs
    from kvcore.instance import Instance
    from kvcore.server.app import Server, main_loop

    logs.configure(config)
    log = logs.logger()
    log.warning(
        f"kvcore {__version__} is starting (Redis {REDIS_VERSION} compatible), "
        f"port={config['port']}, PID: {os.getpid()}"
    )
    try:
        instance = Instance(config)
        unserved = config.unserved()
        if unserved:
            log.warning("Known directives without a meaning here, ignored", names=unserved)
        return main_loop(Server(instance))
    except ConfigError as error:
        print(format_fatal(error) if error.line else error, file=sys.stderr)
        return 1
    except KvcoreError as error:
        log.critical(f"Fatal error, can't start: {error}")
        return 1
