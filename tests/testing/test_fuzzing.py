"""Damaged files are made again from a seed, and what is wrong with a start on them is found."""

from __future__ import annotations

import time
from random import Random

import pytest

from kvcore import CorruptData, Loader, plugins
from kvcore.persistence import Persistence
from kvcore.testing import fuzzing
from kvcore.testing.fuzzing import Fuzzer
from kvcore.testing.mutation import damage, mutate, shrink
from tests.testing.journal import FILE, Journal

FOLDER = {"a": b"*1\r\n$4\r\nPING\r\n" * 5, "b": bytes(range(256))}


def test_a_seed_brings_the_same_damage_back() -> None:
    damaged = [damage([FOLDER], Random(seed)) for seed in range(500)]
    assert damaged == [damage([FOLDER], Random(seed)) for seed in range(500)]
    assert len({repr(folder) for folder in damaged}) > 400


def test_any_bytes_can_be_damaged() -> None:
    data = b"x"
    for seed in range(2000):
        data = mutate(data, Random(seed), b"other")[:1000]
        assert isinstance(data, bytes)


def test_a_failing_input_is_made_small() -> None:
    assert shrink(bytes(100) + b"ab" + bytes(1000), lambda data: b"ab" in data) == b"ab"


class Raises(Journal):
    def load(self, loader: Loader) -> None:
        if self.host.storage.stat(FILE) is not None:
            raise IndexError(FILE)


class Changes(Journal):
    def load(self, loader: Loader) -> None:
        self.host.storage.create("another").close()
        raise CorruptData("damage", path=FILE, offset=0)


class Hangs(Journal):
    def load(self, loader: Loader) -> None:
        before = time.process_time()
        while time.process_time() < before + 60:
            pass


class Allocates(Journal):
    def load(self, loader: Loader) -> None:
        bytearray(50_000_000)
        super().load(loader)


class Forgets(Journal):
    def close(self, save: bool | None) -> None:
        super().close(save)
        self.host.storage.remove(FILE)


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (Raises, "IndexError"),
        (Changes, "a refusal has changed the files"),
        (Hangs, "Endless"),
        (Allocates, "bytes of memory for files of 0 bytes"),
        (Forgets, "the second start finds something else"),
    ],
)
def test_what_must_not_be_is_found(
    monkeypatch: pytest.MonkeyPatch, policy: type[Persistence], told: str
) -> None:
    monkeypatch.setattr(plugins, "load_policy", lambda name: policy)
    monkeypatch.setattr(fuzzing, "WORK_S", 0.5)
    monkeypatch.setattr(fuzzing, "MEASURED", 1)
    with pytest.raises(AssertionError, match=told):
        Fuzzer("journal", {}).start({FILE: b""})
