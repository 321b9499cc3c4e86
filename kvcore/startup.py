"""Never silently empty: which policy's data a store loads when it opens.

The selected policy loads its own. If it finds none but another installed policy does, the data is
*adopted*: loaded by that policy, written in the selected form, and said in the log. If both have
data and the other's is newer, the store does not start: either could be the one that a person
wants, so they say ``load-from NAME``.

That is obeyed once. The line may stay in the configuration, and obeying it at every start would
bring back the same old data again and again; so the folder remembers what was decided, and when.

Other policies are imported only if the folder holds files that the selected one does not claim.
"""

from __future__ import annotations

import time
from typing import Any

from kvcore import plugins
from kvcore.config import Config
from kvcore.errors import ConfigError, PluginError
from kvcore.persistence import Found, Persistence
from kvcore.storage import Storage

# What `load-from` decided, in one line: the name, and Unix seconds.
DECISION = "kvcore.load-from"
# Files of kvcore itself in a data folder; no policy's data.
OWN_FILES = ("kvcore.lock", DECISION)


def choose(
    selected: type[Persistence], name: str, storage: Storage, config: Config, log: Any
) -> tuple[str, type[Persistence]]:
    """(name, class) of the policy whose data to load: ``selected`` itself, or one to adopt.

    Raises ConfigError where only a person can decide.
    """
    own = selected.probe(storage, config)
    wanted = _wanted(storage, config, own, name, log)
    if wanted is not None:
        return (name, selected) if wanted[0] == name else wanted
    claimed = {*OWN_FILES, *own.claims, *own.files}
    strangers = [entry for entry in storage.list() if entry not in claimed]
    if not strangers:
        return name, selected
    others = _others(name, storage, config, claimed, log)
    if not others:
        return name, selected
    other_name, other, found = max(others, key=lambda item: item[2].mtime)
    if not own.has_data:
        log.warning(
            "The selected persistence finds no data, another one's lies there: adopting it",
            selected=name,
            adopting=other_name,
            files=[storage.describe(file) for file in found.files],
        )
        return other_name, other
    if found.mtime > max(own.mtime, decided_at(storage)) and not found.secondary:
        raise ConfigError(
            f"persistence {name} would load {_describe(storage, own)}, but "
            f"{_describe(storage, found)} of persistence {other_name} is newer. "
            f"Say which to load: load-from {other_name} or load-from {name}"
        )
    return name, selected


# load-from ----------------------------------------------------------------------------------------


def _wanted(
    storage: Storage, config: Config, own: Found, selected: str, log: Any
) -> tuple[str, type[Persistence]] | None:
    """(name, class) that `load-from` names, if it was not obeyed yet, or names what another policy
    has written since, and that is newer than ``own``."""
    wanted = str(config["load-from"])
    if not wanted:
        return None
    policy = plugins.load_policy(wanted)
    config.add(policy.options)
    name, when = _decision(storage)
    if wanted != name:
        return wanted, policy
    found = policy.probe(storage, config)
    if wanted != selected and found.mtime > max(own.mtime, when) and not found.secondary:
        return wanted, policy
    config.set_keywords({"load-from": ""})
    log.warning(
        f"load-from {wanted} was obeyed by an earlier start, and is not obeyed again: what was "
        "written since would be lost. Remove it from the configuration; to have it obeyed once "
        f"more, remove {storage.describe(DECISION)}"
    )
    return None


def obeyed(storage: Storage, config: Config) -> None:
    """What `load-from` asked for is loaded, and durable in the selected form. Raises OSError."""
    wanted = str(config["load-from"])
    if wanted:
        _remember(storage, wanted, time.time())
        config.set_keywords({"load-from": ""})


def decided_at(storage: Storage) -> float:
    """When a person last decided which data counts (Unix seconds); 0 for never. What is older was
    decided against."""
    return _decision(storage)[1]


def _decision(storage: Storage) -> tuple[str, float]:
    if storage.stat(DECISION) is None:
        return "", 0.0
    with storage.open(DECISION) as file:
        text = file.read(1000).decode("utf-8", "replace")
    name, _, when = text.strip().partition(" ")
    try:
        return name, float(when)
    except ValueError:
        return "", 0.0  # damaged: as if nothing had been decided


def _remember(storage: Storage, name: str, when: float) -> None:
    storage.replace(DECISION, f"{name} {when!r}\n".encode())


def _others(
    name: str, storage: Storage, config: Config, claimed: set[str], log: Any
) -> list[tuple[str, type[Persistence], Found]]:
    """Other installed policies that find data beyond what the selected one claims."""
    found_by = []
    for other_name in plugins.installed():
        if other_name == name:
            continue
        try:
            other = plugins.load_policy(other_name)
        except PluginError as error:
            log.warning("A persistence plugin cannot be asked for its data", error=str(error))
            continue
        config.add(other.options)
        found = other.probe(storage, config)
        if found.has_data and not set(found.files) <= claimed:
            found_by.append((other_name, other, found))
    return found_by


def _describe(storage: Storage, found: Found) -> str:
    files = ", ".join(storage.describe(file) for file in found.files)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.mtime))
    return f"{files} (last changed {when})"
