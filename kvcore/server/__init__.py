"""The network shell: sockets, timers and signals around an `Instance`; the only event loop."""

from __future__ import annotations

from kvcore.server.app import Server

__all__ = ["Server"]
