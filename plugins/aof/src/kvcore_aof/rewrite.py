"""What a rewrite is made of: the base that a child writes, and the patience after failures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Final

from kvcore.config import Config
from kvcore.persistence import View
from kvcore.snapshot import Child
from kvcore_aof import base
from kvcore_aof.folder import Folder
from kvcore_aof.manifest import Manifest, Part

PATIENCE: Final = 3
LONGEST_MINUTES: Final = 60


class NewBase:
    """A base in the making, under a temporary name until it is finished."""

    def __init__(self, folder: Folder, config: Config) -> None:
        self._folder = folder
        self._form = base.Form(config)
        self._temporary = f"temp-rewriteaof-bg-{os.getpid()}.aof"

    def write(self, view: View, progress: Callable[[int], None] = base.ignore) -> None:
        """Write it durably, in a child or here and now. However it ends, nothing half is left."""
        folder = self._folder
        try:
            with contextlib.closing(folder.storage.create(folder.path(self._temporary))) as file:
                base.write(view, file, self._form, progress)
        except BaseException:
            self.discard()
            raise

    def settle(self, manifest: Manifest) -> Part:
        """Give it the name of the next base; a manifest may name it from now on."""
        part = self._folder.next_base(manifest, rdb=self._form.rdb)
        self._folder.settle(self._temporary, part)
        return part

    def discard(self) -> None:
        self._folder.remove(self._temporary)


class Rewrite:
    """A rewrite that runs in a child.

    ``rotated``  commits go to a new increment, which the manifest names; otherwise they wait in
                 memory, and the base holds the first ``covered`` pieces of what is pending
    """

    def __init__(self, child: Child, base: NewBase, *, rotated: bool, covered: int) -> None:
        self.child = child
        self.base = base
        self.rotated = rotated
        self.covered = covered


class Limit:
    """Rewrites that fail again and again have to wait: 1, 2, 4 … 60 minutes."""

    def __init__(self) -> None:
        self.failures = 0
        self.minutes = 0
        self._until = 0.0

    def allows(self, now: float) -> bool:
        """Whether to try now (Unix seconds). A refusal may set ``minutes`` anew."""
        if self.failures < PATIENCE:
            self.minutes = 0
            self._until = 0.0
            return True
        if self._until:
            if now < self._until:
                return False
            self._until = 0.0
            return True
        self.minutes = min(self.minutes * 2 or 1, LONGEST_MINUTES)
        self._until = now + self.minutes * 60
        return False
