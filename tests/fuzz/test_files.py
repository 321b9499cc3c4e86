"""Thousands of damaged files: each is loaded, or refused with file and offset; see the kit."""

from __future__ import annotations

import functools
from random import Random

import pytest

from kvcore import plugins
from kvcore.testing.fuzzing import Fuzzer
from kvcore.testing.mutation import damage
from tests.fuzz import corpus


@pytest.fixture(scope="module")
def rdb(tmp_path_factory: pytest.TempPathFactory) -> list[corpus.Folder]:
    return corpus.folders_of_rdb(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def aof(tmp_path_factory: pytest.TempPathFactory) -> list[corpus.Folder]:
    return corpus.folders_of_aof(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def _search_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search of all that is installed would take most of the time."""
    monkeypatch.setattr(plugins, "installed", functools.cache(plugins.installed))


def test_the_corpus_loads(rdb: list[corpus.Folder], aof: list[corpus.Folder]) -> None:
    for persistence, folders in (("rdb", rdb), ("aof", aof)):
        fuzzer = Fuzzer(persistence, {})
        assert [fuzzer.start(folder) for folder in folders] == ["loaded"] * len(folders)


def test_damaged_snapshots(rdb: list[corpus.Folder], kvcore_mutants: range) -> None:
    """Half with a checksum that tells of the damage, half with one that does not."""
    fuzzer = Fuzzer("rdb", {})
    for seed in kvcore_mutants[::2]:
        chance = Random(seed)
        folder = damage(rdb, chance)
        checksum = chance.choice(("yes", "yes", "no"))
        if chance.random() < 0.5 and "dump.rdb" in folder:
            folder["dump.rdb"] = corpus.mend(folder["dump.rdb"])
        fuzzer.start(folder, rdbchecksum=checksum)


def test_damaged_logs(aof: list[corpus.Folder], kvcore_mutants: range) -> None:
    """Bases, increments and manifests."""
    fuzzer = Fuzzer("aof", {"appendfsync": "no"})
    for seed in kvcore_mutants[1::2]:
        chance = Random(seed)
        folder = damage(aof, chance)
        if chance.random() < 0.5:
            for name in folder:
                if name.endswith("base.rdb"):
                    folder[name] = corpus.mend(folder[name])
        fuzzer.start(folder, aof_load_truncated=chance.choice(("yes", "no")))
