"""What the server does to its process before it starts."""

from __future__ import annotations

import os
import sys
import time

from kvcore.config import Config
from kvcore.errors import ConfigError


def daemonize() -> None:
    """Go on in a child that belongs to no terminal; the parent exits 0 at once.

    To be called before there are threads, an event loop or open files.
    """
    if os.fork():
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)


def restart(config: Config, seconds: float) -> None:
    """Become a new process of the same number and the same command line. Raises OSError."""
    time.sleep(seconds)
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(config.start_directory)
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def enter_data_folder(config: Config) -> None:
    """Make ``dir`` the current directory, as Redis does, now and on CONFIG SET; ConfigError.

    Relative names of other files mean this folder then.
    """
    path = str(config["dir"])
    try:
        os.makedirs(path, exist_ok=True)
        os.chdir(path)
    except OSError as error:
        raise ConfigError(f"Can't chdir to '{path}': {error.strerror}") from None
    config.subscribe("dir", os.chdir)
