"""``kvcore-server [file|-] [--directive args…]``: as redis-server takes its arguments."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final

from kvcore.config import Config, format_fatal
from kvcore.errors import ConfigError, KvcoreError
from kvcore.resp import FORM
from kvcore.version import REDIS_VERSION, __version__

USAGE: Final = "/path/to/kvcore.conf | - ] [--directive args ..."
HELP: Final = f"""usage: kvcore-server [{USAGE}]
       kvcore-server - (read the configuration from stdin)
       kvcore-server -v | --version
       kvcore-server -h | --help

The file and the directives are those of redis.conf; `--persistence` chooses among none, rdb, aof,
hybrid and whatever else is installed. For example:
       kvcore-server --port 7777 --dir data --persistence hybrid --appendfsync always"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args in (["-v"], ["--version"]):
        print(f"kvcore server v={__version__} redis={REDIS_VERSION} bits=64 build={FORM}")
        return 0
    if args in (["-h"], ["--help"]):
        print(HELP)
        return 0
    config = Config(hold_unknown=True)
    try:
        config.load_argv(args)
        return _serve(config)
    except ConfigError as error:
        print(format_fatal(error) if error.line else error, file=sys.stderr)
        return 1


def _serve(config: Config) -> int:
    """Prepare the process and run the server in it. Raises ConfigError; logs what else fails."""
    from kvcore.cli import logs, process
    from kvcore.cli.progress import load_bar
    from kvcore.instance import Instance
    from kvcore.server.app import Server, main_loop

    process.enter_data_folder(config)
    if config["daemonize"]:
        process.daemonize()
    logs.configure(config)
    log = logs.logger()
    log.warning(
        f"kvcore {__version__} is starting (Redis {REDIS_VERSION} compatible), "
        f"port={config['port']}, PID: {os.getpid()}"
    )
    bar = load_bar()
    try:
        instance = Instance(config, watch_load=bar)
        unserved = config.unserved()
        if unserved:
            log.warning("Known directives without a meaning here, ignored", names=unserved)
        server = Server(instance)
        code = main_loop(server)
        if server.restart_after >= 0:
            process.restart(config, server.restart_after)
        return code
    except (KvcoreError, OSError) as error:
        log.critical(f"Fatal error, can't start: {error}")
        if isinstance(error, ConfigError) and error.line:
            raise  # somebody has to see the line, wherever the log goes
        return 1
    finally:
        if bar is not None:
            bar.close()
