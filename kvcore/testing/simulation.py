"""Random lives of a store, and what must be left of it after each: the heart of the kit.

A `Simulation` runs commits, ticks, snapshots and background work on a `Rig`, plans faults, and ends
each life by an orderly close, a kill or a power failure at a random operation. A `Ledger` knows
the state after every commit, and from which one on it must be there.
"""

from __future__ import annotations

import contextlib
import errno
import math
import random
from typing import Final, Literal

from kvcore.errors import PersistenceError
from kvcore.testing.claims import Claims
from kvcore.testing.rig import Rig
from kvcore.testing.storage import PowerFailure
from kvcore.testing.workload import Workload

End = Literal["kill", "crash"]

_FAULTS: Final = (
    "append",
    "append",
    "sync",
    "sync",
    "create",
    "rename",
    "sync_dir",
    "open",
    "full",
)
_HEAL_TICKS: Final = 200


class Ledger:
    """The state after each commit, and the latest one that each kind of failure must spare.

    ``states``  fingerprints; commit n made ``states[n]`` of ``states[n - 1]``
    ``floor``   by the end of a life: the state that must be there, or a later one
    """

    states: list[str]
    floor: dict[End, int]

    def __init__(self, empty: str) -> None:
        self.states = [empty]
        self.floor = {"kill": 0, "crash": 0}

    @property
    def last(self) -> int:
        return len(self.states) - 1

    def note(self, state: str) -> bool:
        """A command was run; whether it was a commit."""
        if state == self.states[-1]:
            return False
        self.states.append(state)
        return True

    def must_survive(self, *ends: End) -> None:
        """All commits so far."""
        for end in ends:
            self.floor[end] = self.last

    def closed(self, *, keeps: bool) -> None:
        """In order: so all commits survive, or none do."""
        if not keeps:
            del self.states[1:]
        self.must_survive("kill", "crash")

    def check(self, state: str, end: End) -> None:
        """What a store holds that was opened after such an end; go on from there."""
        floor = max(self.floor[end], self.floor["crash"])
        found = [n for n, known in enumerate(self.states) if known == state]
        assert found, (
            f"after a {end} the store holds what it never held between two commits "
            f"(commits {floor} to {self.last} were expected)"
        )
        assert max(found) >= floor, (
            f"after a {end} only {max(found)} of {self.last} commits are there, "
            f"although {floor} must not be lost"
        )
        del self.states[max(found) + 1 :]
        self.floor["kill"] = max(found)
        if end == "crash":  # what a kill has left may lie in the cache still
            self.floor["crash"] = max(found)


class Simulation:
    """Lives of one store, decided by ``seed``.

    ``faulty``  disks fail, too, not only power and processes
    """

    def __init__(self, rig: Rig, seed: int, *, faulty: bool) -> None:
        self.rig = rig
        self.claims: Claims = rig.claims
        self.chance = random.Random(f"lives {seed}")
        self.workload = Workload(seed)
        self.faulty = faulty
        self.troubled = False  # a fault was planned in this life
        self.ledger = Ledger("")

    def run(self, lives: int = 0, steps: int = 25) -> None:
        """So many lives (0: one to four); raises AssertionError where a claim does not hold."""
        self.rig.open()
        self.ledger = Ledger(self.rig.fingerprint())
        for _ in range(lives or self.chance.choice((1, 1, 1, 2, 4))):
            end = self._live(steps)
            self.troubled = False
            if end == "kill":
                self.rig.kill()
            else:
                self.rig.crash()
            self._start(end)
        self._finish()

    # One life ---------------------------------------------------------------------------------

    def _live(self, steps: int) -> End:
        """Some steps, to the end of this life: how it ends."""
        storage = self.rig.storage
        if self.chance.random() < 0.7:
            storage.power_fails_after(self.chance.randrange(4 * steps))
        if self.faulty and self.chance.random() < 0.7:
            self._plan_fault()
        try:
            for _ in range(self.chance.randint(1, steps)):
                if not self._step():
                    break
            else:
                if self.troubled and self.claims.disk_error == "refuse":
                    self._heal()
        except PowerFailure:
            return "crash"
        return "crash" if storage.is_off else self.chance.choice(("kill", "crash"))

    def _step(self) -> bool:
        """Something that happens to a store; False if it stopped for good."""
        rig, claims, fate = self.rig, self.claims, self.chance.random()
        try:
            if fate < 0.75:
                return self._commit()
            if fate < 0.86:
                rig.tick(self.chance.choice((0.1, 0.5, 3.0)))
            elif fate < 0.89:
                self._settle()
            elif fate < 0.93 and claims.snapshots:
                rig.snapshot()
                self.ledger.must_survive("kill", "crash")
            elif fate < 0.98 and claims.background:
                rig.background(self.chance.choice(claims.background))
            elif fate > 0.985:
                rig.close(save=True)
                self.ledger.closed(keeps=claims.keeps)
                rig.open()
                assert rig.fingerprint() == self.ledger.states[-1], "an orderly close lost data"
        except (PersistenceError, OSError) as error:
            self._expect_trouble(str(error))
            return rig.is_open
        return True

    def _commit(self) -> bool:
        rig = self.rig
        faults = rig.storage.faults
        is_commit = False
        try:
            taken = rig.commit(self.workload.commit())
        finally:  # also if the power fails: what was not acknowledged may be there nevertheless
            is_commit = self.ledger.note(rig.fingerprint())
        if not taken:
            self._expect_trouble("a write was refused")
            return self.claims.disk_error != "stop"
        if is_commit:
            if self.claims.survives_power:
                self.ledger.must_survive("kill", "crash")
            elif self.claims.survives_kill and rig.storage.faults == faults and not rig.refuses:
                self.ledger.must_survive("kill")
        return True

    def _settle(self) -> None:
        self.rig.settle()
        if math.isfinite(self.claims.loses_at_most) and not self.troubled:
            self.rig.wait_for_syncs()
            self.ledger.must_survive("kill", "crash")

    # Trouble ----------------------------------------------------------------------------------

    def _plan_fault(self) -> None:
        chance, storage = self.chance, self.rig.storage
        self.troubled = True
        what = chance.choice(_FAULTS)
        if what == "full":
            storage.capacity = storage.used + chance.randrange(1500)
            return
        storage.fail(
            what,
            after=chance.randrange(12),
            times=chance.choice((1, 1, 3)),
            error=chance.choice((errno.EIO, errno.ENOSPC)),
        )

    def _expect_trouble(self, error: str) -> None:
        if self.rig.storage.is_off:
            raise PowerFailure(error)
        assert self.troubled, f"nothing is wrong with the disk, yet: {error}"

    def _heal(self) -> None:
        """The disk is well again: so must the store be, without being opened anew."""
        rig = self.rig
        rig.storage.heal()
        for _ in range(_HEAL_TICKS):
            try:
                taken = rig.commit(self.workload.commit())
            finally:
                self.ledger.note(rig.fingerprint())
            if taken and not rig.refuses:
                self.troubled = False
                self._settle()
                return
            with contextlib.suppress(PersistenceError, OSError):
                rig.tick(1.0)
        raise AssertionError("the disk is well again, yet writes are still refused")

    # From one life to the next ----------------------------------------------------------------

    def _start(self, end: End) -> None:
        """Open the store again and check what is there. The start may fail and end as well."""
        rig = self.rig
        for attempt in range(4):
            if attempt < 3 and self.chance.random() < 0.4:
                rig.storage.power_fails_after(self.chance.randrange(15))
            if attempt < 3 and self.faulty and self.chance.random() < 0.2:
                self._plan_fault()
            try:
                rig.open()
                break
            except PowerFailure:
                rig.crash()
                end = "crash"
            except (PersistenceError, OSError) as error:
                self._expect_trouble(str(error))
                rig.kill()
        self.troubled = False
        rig.storage.heal()
        rig.storage.power_fails_after(None)
        self.ledger.check(rig.fingerprint(), end)

    def _finish(self) -> None:
        """After all that the store is as good as new."""
        rig, ledger = self.rig, self.ledger
        for _ in range(5):
            assert rig.commit(self.workload.commit()), "a write was refused"
            ledger.note(rig.fingerprint())
        rig.close(save=True)
        ledger.closed(keeps=self.claims.keeps)
        rig.crash()
        rig.open()
        assert rig.fingerprint() == ledger.states[-1], "an orderly close lost data"
