"""Every error of kvcore, named by the decision that whoever catches it takes.

========================  =====================================================
`CommandError`            the client's fault: its text is the error reply
`ProtocolError`           the bytes are no protocol: answer, then close
`CorruptData`             a file is damaged: refuse to start, touch nothing
`PersistenceError`        the disk's fault: refuse writes until it heals
`ConfigError`             the configuration is wrong: say where, exit 1
`PluginError`             a plugin is missing, broken or of another API version
========================  =====================================================

This module imports nothing and stays uncompiled, so that any layer may raise.
"""

from __future__ import annotations

from typing import Final


class KvcoreError(Exception):
    """Base of all errors that kvcore raises on purpose."""


class CommandError(KvcoreError):
    """A command was refused. ``str(error)`` is the reply, code first: ``ERR syntax error``."""

    @property
    def text(self) -> str:
        return str(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CommandError) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)


class ProtocolError(KvcoreError):
    """What a client sent is not RESP. Answer ``-ERR <text>`` and close the connection."""


class CorruptData(KvcoreError):
    """A file does not hold what its format promises.

    ``path`` and ``offset`` (bytes; -1 where unknown) say where, ``why`` what was found and
    expected, ``advice`` what a person can run. The file is left as it is.
    """

    def __init__(self, why: str, *, path: str = "", offset: int = -1, advice: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.path = path
        self.offset = offset
        self.advice = advice

    def __str__(self) -> str:
        where = self.path
        if self.offset >= 0:
            where = f"{where} at offset {self.offset}" if where else f"at offset {self.offset}"
        text = f"{where}: {self.why}" if where else self.why
        text = f"{text}. {self.advice}" if self.advice else text
        # A damaged manifest may name a file in any bytes.
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class EmptyValue(CorruptData):
    """A collection without elements, which no key may hold. All of it was read: a file is loaded
    without it, as in Redis, where a bug once wrote such keys; nowhere else is it accepted."""


class PersistenceError(KvcoreError):
    """Storage failed (full disk, I/O error). What was acknowledged before stays promised."""


class ConfigError(KvcoreError):
    """An option is unknown or its value is wrong; ``path``, ``line`` and ``text`` say where."""

    def __init__(self, why: str, *, path: str = "", line: int = 0, text: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.path = path
        self.line = line
        self.text = text

    def __str__(self) -> str:
        where = f"{self.path}, line {self.line}" if self.line else self.path
        shown = f"'{self.text}'" if self.text else ""
        return ": ".join(part for part in (where, shown, self.why) if part)


class PluginError(KvcoreError):
    """A plugin cannot be used; the text names its distribution and what to do."""


class StoreClosed(KvcoreError):
    """The store was closed; open it again."""


class StoreLocked(KvcoreError):
    """Another process has the data folder open."""


# Texts of the replies that many commands share. They are texts, not instances: raising one
# instance twice would chain tracebacks for ever.
WRONG_TYPE: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"
SYNTAX: Final = "ERR syntax error"
NOT_AN_INTEGER: Final = "ERR value is not an integer or out of range"
NOT_A_FLOAT: Final = "ERR value is not a valid float"
NO_SUCH_KEY: Final = "ERR no such key"
OUT_OF_RANGE: Final = "ERR index out of range"
NOT_POSITIVE: Final = "ERR value is out of range, must be positive"
OVERFLOW: Final = "ERR increment or decrement would overflow"
