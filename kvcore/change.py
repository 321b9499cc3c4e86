"""Another policy takes over while the store runs: CONFIG SET persistence, CONFIG SET appendonly.

The data is complete and durable in the new policy's form before the former one is let go of. If
anything fails until then, the former stays in charge and what the new one wrote is removed, so the
change is whole or it has not been. All of it happens within one command, on the thread that runs
commands, so there are no writes in between that only one of the two would know.

Policies that are made of one another (hybrid of aof and rdb) have files in common. They hand over
the part that works on these, open as it is: see `Persistence.turn_into` and `include`.
"""

from __future__ import annotations

from typing import Any, Final

from kvcore import plugins
from kvcore.config import Config
from kvcore.errors import ConfigError
from kvcore.persistence import Host, Persistence, View

# What `appendonly` means to whom it concerns; `hybrid` and `rdb` are what Redis would do.
WITH_LOG: Final = {"rdb": "hybrid", "none": "aof"}
WITHOUT_LOG: Final = {"hybrid": "rdb", "aof": "rdb"}


def default_policy(config: Config) -> str:
    """As Redis: an AOF together with snapshots, or snapshots alone."""
    return "hybrid" if config["appendonly"] else "rdb"


def keeps_log(name: str) -> bool:
    """Whether `appendonly` is told to be on: there is an AOF as Redis has it."""
    return name in WITHOUT_LOG


def wanted_policy(config: Config, current: str, changed: set[str]) -> str:
    """The policy that the configuration asks for, of which ``changed`` was set just now.

    Raises ConfigError.
    """
    log = bool(config["appendonly"])
    if "persistence" in changed:
        name = str(config["persistence"]) or default_policy(config)
        if "appendonly" in changed and name in plugins.OURS and log != keeps_log(name):
            raise ConfigError(f"appendonly contradicts persistence {name}")
        return name
    name = (WITH_LOG if log else WITHOUT_LOG).get(current, "")
    if not name:
        raise ConfigError(
            f"persistence '{current}' keeps no append only file of ours; "
            "choose another one by CONFIG SET persistence"
        )
    return name


def take_over(
    successor: type[Persistence],
    host: Host,
    former: Persistence,
    view: View,
    hooks: plugins.Plugins,
    *,
    parts: bool = True,
) -> Persistence:
    """Put a policy of the class ``successor`` in the place of ``former``; returns it, started and
    registered. Whatever this raises, ``former`` goes on.

    ``parts``: a part of one may go on in the other.
    """
    part = former.turn_into(successor, view) if parts else None
    if part is not None:
        hooks.register(part)
        return part
    new = successor(host)
    try:
        hooks.register(new)  # first: it may be refused
        if parts and new.include(former, view):
            return new
        new.adopt(view)
        new.start()
    except BaseException:
        hooks.unregister(new)
        let_go(new, host.log)
        raise
    let_go(former, host.log)
    return new


def let_go(policy: Persistence, log: Any) -> None:
    """Release a policy that is not needed any more: that it fails does no harm."""
    try:
        policy.release()
    except Exception as error:
        log.warning(
            "A persistence that is not in charge any more did not close well",
            persistence=policy.name,
            error=str(error) or type(error).__name__,
        )
    policy.host.config.unsubscribe(policy)
