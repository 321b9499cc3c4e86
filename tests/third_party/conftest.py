"""The stranger's tests run where their package is installed: see test_third_party."""

from __future__ import annotations

collect_ignore = ["kvcore-sqlite"]
