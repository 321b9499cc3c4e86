"""Random sequences of commands: replies and, at the end, the data are those of Redis."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.commands_pool import KEYS, POOL, STRINGS, TRANSACTIONS, Shape
from tests.scripts import Compare, Step

EXAMPLES = 60
LENGTH = 30


def check(compare: Compare, shapes: list[Shape]) -> None:
    @settings(max_examples=EXAMPLES)
    @given(st.lists(st.one_of([shape.steps for shape in shapes]), min_size=1, max_size=LENGTH))
    def answered_alike(steps: list[Step]) -> None:
        compare(steps)

    answered_alike()


@pytest.mark.parametrize("family", [name for name in POOL if name != "transactions"])
def test_one_family(compare: Compare, family: str) -> None:
    # Strings and keys are there too: something of another type, and what happens to any key.
    check(compare, [*POOL[family] * 3, *STRINGS[:3], *KEYS])


def test_all_families(compare: Compare) -> None:
    check(compare, [shape for name in POOL if name != "transactions" for shape in POOL[name]])


def test_transactions(compare: Compare) -> None:
    # EXEC answers for all of them at once: only replies that can be compared exactly.
    shapes = [shape for name in POOL for shape in POOL[name] if shape.mode == "exact"]
    check(compare, [*TRANSACTIONS * 5, *shapes])
