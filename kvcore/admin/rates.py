"""Rates per second over the last moments: instantaneous_ops_per_sec and its like."""

from __future__ import annotations

from collections import deque
from typing import Final

SAMPLES: Final = 16  # as Redis: 1.6 seconds of a store whose cron runs ten times a second


class Rates:
    """Growth of some counters per second, averaged over the last samples."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, tuple[int, ...]]] = deque(maxlen=SAMPLES)

    def sample(self, now: float, *counters: int) -> None:
        """Note the counters at ``now`` (seconds); always the same ones."""
        self._samples.append((now, counters))

    def per_second(self, index: int) -> float:
        if len(self._samples) < 2:
            return 0.0
        (begin, before), (end, after) = self._samples[0], self._samples[-1]
        seconds = end - begin
        return max(0, after[index] - before[index]) / seconds if seconds > 0 else 0.0

    def clear(self) -> None:
        self._samples.clear()
