"""The power fails while a store changes its policy, and at any other moment of such lives."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from kvcore import ConfigError, plugins
from kvcore.errors import CommandError, KvcoreError
from kvcore.testing import Claims, PowerFailure
from kvcore.testing.rig import Rig
from kvcore.testing.simulation import Ledger
from kvcore.testing.workload import Workload
from kvcore_aof import manifest

POLICIES = ("rdb", "aof", "hybrid")
COMMANDS = {"rdb": ["BGSAVE"], "aof": ["BGREWRITEAOF"], "hybrid": ["BGSAVE", "BGREWRITEAOF"]}
CLAIMS = Claims(log=True, survives_kill=True, survives_power=True, tears="zeros")
MANIFEST = "appendonlydir/appendonly.aof.manifest"
OTHER_FILES = ("dump.rdb", "kvcore.load-from")
LIVES = 3
STEPS = 20


class Changes:
    """Lives of one store that is now of this policy, now of that; decided by ``seed``.

    ``wanted``  what is to come in the place of ``rig.persistence``, while nobody knows if it did
    """

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.chance = random.Random(f"changes {seed}")
        self.workload = Workload(seed)
        self.wanted = ""
        rig.persistence = self.chance.choice(POLICIES)
        rig.open()
        self.ledger = Ledger(rig.fingerprint())

    def run(self) -> None:
        for _ in range(LIVES):
            self.wanted = ""
            self.rig.storage.power_fails_after(self.chance.randrange(3 * STEPS))
            ended = "crash"
            try:
                for _ in range(STEPS):
                    self._step()
                ended = self.chance.choice(("kill", "crash"))
            except PowerFailure:
                pass
            except KvcoreError:
                assert self.rig.storage.is_off
            if ended == "kill":
                self.rig.kill()
            else:
                self.rig.crash()
            self._start()
        self._end_in_order()

    def _end_in_order(self) -> None:
        """Whatever was before, the files are those of a young store in the end."""
        rig = self.rig
        rig.do("CONFIG", "SET", "persistence", "hybrid")
        rig.persistence = "hybrid"
        rig.storage.finish_children()
        rig.tick()
        rig.background("BGREWRITEAOF")
        rig.storage.finish_children()
        for _ in range(3):
            rig.tick()
        rig.reopen()
        assert rig.fingerprint() == self.ledger.states[-1]
        # Where the power took the mark that a log is not needed any more, it is kept: under names
        # that say so.
        names = {name for name in rig.storage.contents() if "/replaced-" not in name}
        parts = manifest.parse(rig.storage.contents()[MANIFEST]).parts
        assert len(parts) == 2
        kept = {MANIFEST, *(f"appendonlydir/{part.name}" for part in parts)}
        assert names - {*OTHER_FILES} == kept

    def _step(self) -> None:
        rig, fate = self.rig, self.chance.random()
        if fate < 0.65:
            try:
                assert rig.commit(self.workload.commit())
            finally:
                is_commit = self.ledger.note(rig.fingerprint())
            if is_commit and rig.persistence != "rdb":
                self._must_survive()
        elif fate < 0.75:
            rig.tick(3.0)
        elif fate < 0.85:
            rig.background(self.chance.choice(COMMANDS[rig.persistence]))
        elif fate < 0.9:
            if rig.persistence != "aof":
                rig.storage.finish_children()
                rig.tick()
                rig.snapshot()
                self._must_survive()
        else:
            others = [policy for policy in POLICIES if policy != rig.persistence]
            self.wanted = self.chance.choice(others)
            try:
                rig.do("CONFIG", "SET", "persistence", self.wanted)
            except CommandError:
                assert rig.storage.is_off
                raise PowerFailure from None
            rig.persistence = self.wanted
            self.wanted = ""
            self._must_survive()

    def _must_survive(self) -> None:
        self.ledger.must_survive("kill", "crash")

    def _start(self) -> None:
        """With the policy that was in charge. If the power failed in a change, either may have the
        last word, and where a person has to say which, both must be right."""
        rig = self.rig
        if refusal := self._refused():
            assert self.wanted, refusal
            choices = [policy for policy in POLICIES if f"load-from {policy}" in refusal]
            assert rig.persistence in choices
            after = rig.storage
            for choice in choices:
                rig.storage = after.copy()
                rig.open(load_from=choice)
                self._check_state()
                rig.kill()
            rig.storage = after
            rig.open(load_from=rig.persistence)
        self.ledger.check(rig.fingerprint(), "crash")
        self._must_survive()

    def _refused(self) -> str:
        try:
            self.rig.open()
        except ConfigError as error:
            return str(error)
        return ""

    def _check_state(self) -> None:
        assert self.rig.fingerprint() in self.ledger.states[self.ledger.floor["crash"] :]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    for search in ("installed", "load_policy"):
        monkeypatch.setattr(plugins, search, functools.cache(getattr(plugins, search)))
    options: dict[str, Any] = {"appendfsync": "always"}
    rig = Rig("hybrid", CLAIMS, options, "")
    monkeypatch.setattr(os, "getpid", rig.getpid)
    state = random.getstate()
    with rig.ended():
        yield rig
        random.setstate(state)


@pytest.mark.behaviour(
    "CONFIG SET persistence", "the power fails at any moment: one of the two has everything"
)
def test_whoever_is_in_charge_has_all_that_was_promised(rig: Rig, kvcore_seeds: range) -> None:
    for seed in kvcore_seeds:
        rig.renew(seed)
        try:
            Changes(rig, seed).run()
        except BaseException as error:
            error.add_note(f"with seed {seed}")
            raise
