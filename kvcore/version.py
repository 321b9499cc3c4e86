"""Versions that kvcore tells."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"

REDIS_VERSION: Final = "7.2.4"
"""The Redis whose commands kvcore serves, as INFO and HELLO report it to clients."""
