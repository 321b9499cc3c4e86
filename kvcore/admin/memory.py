"""How much memory things take, as far as Python and the kernel tell."""

from __future__ import annotations

import gc
import os
import resource
import sys
import types
from typing import Final

# Shared by many values: no part of any one.
_SHARED: Final = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)


def resident() -> int:
    """Bytes of this process in RAM now; the most there ever were, where only that is known."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return peak()


def peak() -> int:
    """The most bytes of this process that ever were in RAM."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def total() -> int:
    """Bytes of RAM that this machine has."""
    return os.sysconf("SC_PAGESIZE") * os.sysconf("SC_PHYS_PAGES")


AT_START: Final = resident()
"""Before any data was loaded: this module is imported while a store opens."""


def usage(value: object, samples: int = 5) -> int:
    """About how many bytes ``value`` takes with all that it holds.

    Of many items, ``samples`` evenly spread ones stand for all (0: look at each).
    """
    return _usage(value, samples, set())


def _usage(value: object, samples: int, seen: set[int]) -> int:
    if id(value) in seen:
        return 0
    seen.add(id(value))
    held = [item for item in gc.get_referents(value) if not isinstance(item, _SHARED)]
    looked = held[:: max(1, len(held) // samples) if samples else 1]
    inside = sum([_usage(item, samples, seen) for item in looked])
    return sys.getsizeof(value) + (inside * len(held) // len(looked) if looked else 0)


def human(size: int) -> str:
    """``size`` as INFO prints it for people: 1.50M."""
    if size < 1024:
        return f"{size}B"
    for unit in "KMGTP":
        if size < 1024 ** ("KMGTP".index(unit) + 2):
            break
    return f"{size / 1024 ** ('KMGTP'.index(unit) + 1):.2f}{unit}"
