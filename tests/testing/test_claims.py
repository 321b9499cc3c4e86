"""Claims that contradict themselves, or the class, are refused."""

from __future__ import annotations

from typing import Any

import pytest

from kvcore.testing import Claims


@pytest.mark.parametrize(
    "claims",
    [
        {"survives_power": True, "log": True},
        {"survives_kill": True},
        {"log": True, "keeps": False},
    ],
)
def test_claims_must_agree_with_each_other(claims: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="contradicts itself"):
        Claims(**claims)
