"""A bar for whoever starts the server on a terminal and waits for a big load."""

from __future__ import annotations

import sys
from typing import Any, Final

LEAST: Final = 16 << 20
"""Bytes from which on a load is worth a bar."""


class LoadBar:
    """Shows on stderr how many bytes of how many are loaded; call it, then close it."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._task: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._task is None:
            if total < LEAST or done >= total:
                return
            self._task = self._progress.add_task("Loading", total=total)
            self._progress.start()
        self._progress.update(self._task, completed=done)
        if done >= total:
            self.close()

    def close(self) -> None:
        """Leave the terminal as it was; closing twice is no error."""
        self._progress.stop()


def load_bar() -> LoadBar | None:
    """A bar, if stdout is a terminal and ``rich`` is installed."""
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )
    except ImportError:
        return None
    return LoadBar(
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
    )
