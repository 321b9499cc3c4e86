"""The table of behaviours is true: complete, drawn by tests that pass, and drawn anew."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.behaviours import DIRECTIVES, SECTIONS, table

ROOT = Path(__file__).parents[1]
COMMITTED = ROOT / "docs" / "persistence-table.md"


def draw(target: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("--behaviours", str(target), *args),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_committed_table_is_not_stale(tmp_path: Path) -> None:
    drawn = draw(tmp_path / "table.md", "--collect-only")
    assert drawn.returncode == 0, drawn.stdout
    assert (tmp_path / "table.md").read_text() == COMMITTED.read_text(), (
        "draw it anew: pytest --behaviours docs/persistence-table.md"
    )


def test_every_directive_has_a_test() -> None:
    text = COMMITTED.read_text()
    for name in DIRECTIVES:
        assert f"| `{name}` |" in text


def test_what_no_test_shows_cannot_be_drawn() -> None:
    rows = [
        (subject, "text", "tests/x.py", "test_x") for some in SECTIONS.values() for subject in some
    ]
    assert "| `save` | `3600 1 300 100 60 10000` | at once | text | [test_x](../tests/x.py) |" in (
        table(rows)
    )
    with pytest.raises(pytest.UsageError, match="no test shows what is said of: persistence"):
        table(rows[1:])


def test_a_run_that_fails_draws_nothing(tmp_path: Path) -> None:
    target = tmp_path / "table.md"
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.behaviours"]\n')
    (tmp_path / "test_x.py").write_text(
        "import pytest\n\n"
        '@pytest.mark.behaviour("save", "is not so")\n'
        "def test_x():\n    assert False\n"
    )
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    drawn = draw(
        target, "-c", str(tmp_path / "pytest.ini"), "--rootdir", str(tmp_path), str(tmp_path)
    )
    assert drawn.returncode == 1, drawn.stdout
    assert not target.exists()
