"""Discovery and selection of plugins, and the freezing of hooks: the only user of pluggy.

Persistence policies are entry points of the group ``kvcore.persistence``; **only the selected one
is imported**. (Others are imported to ask what they know only if files lie in the data folder that
the selected one does not claim: see `kvcore.startup`.)
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

import pluggy
import structlog

from kvcore import hookspecs
from kvcore.errors import PluginError
from kvcore.persistence import API_VERSION, Persistence

GROUP: Final = "kvcore.persistence"
OURS: Final = ("none", "rdb", "aof", "hybrid")

log = structlog.get_logger("kvcore")


def installed() -> dict[str, importlib.metadata.EntryPoint]:
    """Persistence policies by name, not imported."""
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}


def load_policy(name: str) -> type[Persistence]:
    """Import the policy ``name``; raises PluginError that says what to do."""
    found = installed()
    if name not in found:
        known = ", ".join(sorted(found)) or "none at all"
        how = (
            f"pip install kvcore-{name}"
            if name in OURS
            else f"install the distribution that provides the entry point {GROUP}: {name}"
        )
        raise PluginError(f"persistence '{name}' is not installed ({how}); installed here: {known}")
    entry = found[name]
    dist = entry.dist.name if entry.dist is not None else entry.value
    try:
        policy = entry.load()
    except Exception as error:
        raise PluginError(
            f"persistence '{name}' of {dist} cannot be imported: {type(error).__name__}: {error}; "
            f"reinstall {dist} or choose another persistence"
        ) from error
    if not (isinstance(policy, type) and issubclass(policy, Persistence)):
        raise PluginError(
            f"persistence '{name}' of {dist}: {entry.value} is no subclass of "
            "kvcore.persistence.Persistence"
        )
    if policy.api != API_VERSION:
        raise PluginError(
            f"persistence '{name}' of {dist} is written for version {policy.api} of the "
            f"persistence contract, this kvcore has version {API_VERSION}; upgrade {dist}"
        )
    return policy


class _Manager(pluggy.PluginManager):
    """Looks at the class of a policy once: else that is a fifth of what opening a store takes."""

    _seen: ClassVar[WeakKeyDictionary[type, dict[str, Any]]] = WeakKeyDictionary()

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        if not isinstance(plugin, Persistence) or name in vars(plugin):
            return super().parse_hookimpl_opts(plugin, name)
        seen = self._seen.setdefault(type(plugin), {})
        if name not in seen:
            seen[name] = super().parse_hookimpl_opts(plugin, name)
        return seen[name]


class Plugins:
    """All hooks of one store."""

    def __init__(self, hooks: Iterable[object] = ()) -> None:
        self._manager = _Manager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        for plugin in hooks:
            self.register(plugin)

    def register(self, plugin: object) -> None:
        """Add an object (module, instance) whose hookimpls take part; PluginError if invalid."""
        try:
            self._manager.register(plugin)
        except (pluggy.PluginValidationError, ValueError) as error:
            raise PluginError(str(error)) from error

    def unregister(self, plugin: object) -> None:
        """Take out what `register` added, if it did; observers have to be frozen again."""
        if self._manager.is_registered(plugin):
            self._manager.unregister(plugin)

    @property
    def hook(self) -> Any:
        return self._manager.hook

    def collect(self, name: str) -> list[Any]:
        """The answers of all implementations of a registration hook, first registered first."""
        answers = getattr(self.hook, name)()
        return [item for answer in reversed(answers) for item in answer]

    def tell(self, name: str, **arguments: object) -> None:
        """Call a lifecycle hook; an implementation that raises is logged and does no harm."""
        for observer in self.freeze(name):
            observer(*(arguments[key] for key in _arguments(name)))

    def freeze(self, name: str) -> tuple[Callable[..., None], ...]:
        """Implementations of an observer as guarded plain callables, in order of registration.

        Each takes all arguments of its hookspec by position.
        """
        caller = getattr(self.hook, name)
        positions = {key: i for i, key in enumerate(_arguments(name))}
        return tuple(
            _Guarded(
                name,
                impl.plugin_name,
                impl.function,
                tuple(positions[key] for key in impl.argnames),
            )
            for impl in caller.get_hookimpls()
        )


def _arguments(name: str) -> tuple[str, ...]:
    code = getattr(hookspecs, name).__code__
    return tuple(code.co_varnames[: code.co_argcount])


class _Guarded:
    """One implementation of an observer: gets the arguments it asked for, cannot do harm."""

    def __init__(
        self, hook: str, plugin: str, function: Callable[..., object], wanted: tuple[int, ...]
    ) -> None:
        self.hook = hook
        self.plugin = plugin
        self.function = function
        self.wanted = wanted
        self.complained = False

    def __call__(self, *arguments: object) -> None:
        try:
            self.function(*[arguments[i] for i in self.wanted])
        except Exception as error:
            if not self.complained:
                self.complained = True
                log.error(
                    "A hook raised; it goes on being called, further errors are not logged",
                    hook=self.hook,
                    plugin=self.plugin,
                    error=f"{type(error).__name__}: {error}",
                )
