"""What the server does to its process before it starts."""

from __future__ import annotations

import os

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
