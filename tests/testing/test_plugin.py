"""The fixtures and the option that pytest finds wherever kvcore is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis

from kvcore import Store
from kvcore.testing.plugin import KvcoreServer

SUITE = """
from kvcore.testing import Claims, PersistenceSuite

class TestNone(PersistenceSuite):
    persistence = "none"
    claims = Claims(keeps=False)

def test_seeds(kvcore_seed):
    assert kvcore_seed >= 0

def test_batches(kvcore_seeds):
    assert kvcore_seeds in (range(7, 32), range(32, 57), range(57, 70))

def test_mutants(kvcore_mutants):
    assert kvcore_mutants in (range(7, 107), range(107, 110))

def test_kills(kvcore_kills):
    assert len(kvcore_kills) >= 5
"""


@pytest.mark.parametrize("key", ["first", "second"])
def test_a_store_is_empty_for_each_test(kvcore_store: Store, key: str) -> None:
    assert len(kvcore_store) == 0
    kvcore_store[key] = b"value"
    assert kvcore_store[key] == b"value"


@pytest.mark.parametrize("key", ["first", "second"])
def test_a_server_is_empty_for_each_test(kvcore_server: KvcoreServer, key: str) -> None:
    with redis.Redis.from_url(kvcore_server.url) as client:
        assert client.dbsize() == 0
        client.set(key, "value")
        assert client.get(key) == b"value"


def run_pytest(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(SUITE)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), *args],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_not_claimed_is_said_and_seeds_may_be_chosen(tmp_path: Path) -> None:
    run = run_pytest(tmp_path, "--kvcore-seeds", "7:70", "--kvcore-mutants", "7:110", "-v")
    assert run.returncode == 0, run.stdout
    passed = [seed for seed in range(100) if f"test_seeds[seed{seed}] PASSED" in run.stdout]
    assert passed == [7, 47]
    assert "persistence none does not claim keeps: " in run.stdout


@pytest.mark.parametrize("option", ["--kvcore-seeds", "--kvcore-mutants", "--kvcore-kills"])
def test_nonsense_for_seeds_is_a_sentence(tmp_path: Path, option: str) -> None:
    run = run_pytest(tmp_path, option, "many")
    assert run.returncode != 0
    assert f"{option} takes a number or FROM:TO, not 'many'" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr
