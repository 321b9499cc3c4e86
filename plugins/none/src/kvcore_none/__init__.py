"""The null policy: keeps nothing. It is also the shortest complete plugin."""

from __future__ import annotations

from kvcore import Loader, Persistence


class NonePersistence(Persistence):
    """Nothing is written; what the process held is gone with it."""

    name = "none"

    def load(self, loader: Loader) -> None:
        self.host.log.warning("persistence none: nothing is kept when this process ends")

    def adopt(self, view: object) -> None:
        self.host.log.warning("persistence none: changes to the loaded data are not kept")
