"""What a policy promises, declared: the kit tests all of it, and says what it leaves out."""

from __future__ import annotations

import math
from typing import Literal

import attrs

from kvcore.testing.storage import Tears


@attrs.frozen(kw_only=True)
class Claims:
    """The promises of one policy, as configured by the suite's ``options``.

    A test whose claim is not made is skipped, and names the claim. Claim what the documentation
    of the policy says: the kit also fails on claims that contradict the class.
    """

    keeps: bool = True
    """An orderly ``close(save=True)`` keeps all data, durably. (Only policy ``none`` does not.)"""

    log: bool = False
    """Every commit is recorded as it happens, so every orderly close keeps it, NOSAVE included."""

    snapshots: bool = False
    """`Persistence.snapshot` makes this point in time durable; the last one stays until then."""

    survives_kill: bool = False
    """An acknowledged write survives ``kill -9``. (A write during which the disk fails may be
    acknowledged and lost; those after it are not acknowledged.)"""

    survives_power: bool = False
    """An acknowledged write survives a power failure, whatever the disk does."""

    loses_at_most: float = math.inf
    """So many seconds after a write nothing can take it any more, if the disk is well and the
    store ticks meanwhile. Infinity: no such bound."""

    background: tuple[str, ...] = ()
    """Commands that start work in a background child, such as ``BGSAVE``."""

    disk_error: Literal["refuse", "stop", "unspecified"] = "refuse"
    """What a failing or full disk leads to. ``refuse``: writes are refused with MISCONF, reads go
    on, and once the disk is well writes are taken again. ``stop``: the store ends by
    `Host.fatal`, and nothing that was acknowledged is lost."""

    tears: Tears = "any"
    """The worst that a power failure may do to bytes that were not synced, such that the store
    starts by itself afterwards: see `kvcore.testing.storage`."""

    detects_damage: bool = True
    """Files that are damaged or missing are refused with `CorruptData`, and left alone."""

    storage: bool = True
    """All bytes go through ``host.storage``. Otherwise no fault can be simulated."""

    def __attrs_post_init__(self) -> None:
        if self.survives_power and not self.survives_kill:
            raise ValueError("survives_power without survives_kill contradicts itself")
        if self.survives_kill and not self.log:
            raise ValueError("survives_kill without log contradicts itself")
        if self.log and not self.keeps:
            raise ValueError("log without keeps contradicts itself")
