"""Versions that kvcore tells."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"

REDIS_VERSION: Final = "7.2.4"
"""The Redis whose commands kvcore serves, as INFO and HELLO report it to clients."""


def compiled() -> bool:
    """Does the compiled form of kvcore run here (see setup.py), or the plain one?"""
    from kvcore import engine

    return not (engine.__file__ or "").endswith(".py")
