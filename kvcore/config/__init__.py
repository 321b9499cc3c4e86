"""The configuration: options with types, redis.conf, and CONFIG GET, SET and REWRITE.

    config = Config()
    config.load_argv(["redis.conf", "--port", "7000"])
    config["port"]                             # 7000
    config.subscribe("dir", chdir)             # called when CONFIG SET has changed it
    config.set_many([(b"maxmemory", b"1gb")])  # CONFIG SET

Loading is for the start: it calls no subscriber, and each text changes what the one before it
said. Later changes come by `set_many`, all of a call or none of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, Final

from kvcore.codec.glob import Glob
from kvcore.config.directives import DEPRECATED, OPTIONS
from kvcore.config.grammar import (
    COMMAND_LINE,
    STDIN,
    Line,
    decode,
    encode,
    included_files,
    parse_argv,
    parse_line,
    parse_lines,
    quote,
    quote_if_needed,
    read_file,
    split_args,
)
from kvcore.config.options import BAD_DIRECTIVE, Option
from kvcore.config.rewrite import Document, replace_file
from kvcore.errors import CommandError, ConfigError
from kvcore.version import __version__

__all__ = [
    "Config",
    "Line",
    "Option",
    "format_fatal",
    "quote",
    "quote_if_needed",
    "split_args",
]

MAX_INCLUDES: Final = 64  # of files within files: more is a file that includes itself


class Config:
    """The values of all options. Names are Redis', in lower case; older ones work as well.

    With `hold_unknown`, a line whose directive is not known yet waits for the `add` that brings
    it: the file that selects a plugin may hold the plugin's own options. `refuse_unknown` ends
    the wait.
    """

    def __init__(self, extra: Iterable[Option] = (), *, hold_unknown: bool = False) -> None:
        self.path: str | None = None  # of the file that CONFIG REWRITE will write
        self._declared: list[Option] = []
        self._options: dict[str, Option] = {}  # by every name
        self._values: dict[str, Any] = {}  # by the first name, like all below
        self._lines: dict[str, list[Line]] = {}
        self._explicit: set[str] = set()
        self._subscribers: dict[str, list[Callable[[Any], None]]] = {}
        self._last: tuple[frozenset[str], Callable[[set[str]], None]] | None = None
        self._hold_unknown = hold_unknown
        self._held: list[Line] = []
        self.add(OPTIONS)
        self.start_directory = self._values["dir"] = _working_directory()
        self.add(extra)

    # --- Values -----------------------------------------------------------------------------

    def get(self, name: str) -> Any:
        """The value of an option; its type is that of the option's kind. Raises KeyError."""
        value = self._values.get(name, _MISSING)
        return self._values[self._options[name].name] if value is _MISSING else value

    __getitem__ = get

    def __contains__(self, name: str) -> bool:
        return name in self._options

    def show(self, name: str) -> bytes:
        """The value as CONFIG GET answers it."""
        option = self._options[name]
        return option.kind.show(self._values[option.name])

    def option(self, name: bytes) -> Option | None:
        """The record of a directive as a client or a file wrote it."""
        return self._options.get(decode(name.lower()))

    def explicit(self, name: str) -> bool:
        """Whether somebody has set it: in a file, by argument, keyword or CONFIG SET."""
        return self._options[name].name in self._explicit

    def lines(self, name: str) -> list[Line]:
        """The lines that set it, for errors that only show later: ``line.error(why)``."""
        return list(self._lines.get(self._options[name].name, ()))

    def unserved(self) -> list[str]:
        """Directives that somebody has set, and that do nothing here."""
        names = [option.name for option in self._declared if not option.served]
        return [name for name in names if name in self._explicit]

    # --- Loading ----------------------------------------------------------------------------

    def add(self, options: Iterable[Option]) -> None:
        """Make further directives known, and apply the lines that wait for them.

        Raises ConfigError if a name is taken by an option that is not the same.
        """
        for option in options:
            for name in (option.name, *option.aliases):
                if self._options.setdefault(name, option) != option:
                    raise ConfigError(f"the option '{name}' is declared twice")
            if option.name not in self._values:
                self._values[option.name] = option.default
                self._declared.append(option)
        held, self._held = self._held, []
        for line in held:
            self._apply(line)

    def remove(self, options: Iterable[Option]) -> None:
        """Forget directives, and what was set by them: who declared them is gone."""
        for option in options:
            for name in (option.name, *option.aliases):
                self._options.pop(name, None)
            if option in self._declared:
                self._declared.remove(option)
            self._values.pop(option.name, None)
            self._explicit.discard(option.name)
            self._lines.pop(option.name, None)
            self._subscribers.pop(option.name, None)

    def refuse_unknown(self) -> None:
        """Raise ConfigError for the first line whose directive nobody has declared."""
        if self._held:
            raise self._held[0].error(BAD_DIRECTIVE)
        self._hold_unknown = False

    def load_file(self, path: str | os.PathLike[str]) -> None:
        """Apply a file, and remember it for CONFIG REWRITE. Raises ConfigError."""
        path = os.path.abspath(path)
        self._load(read_file(path), path, 0)
        self.path = path

    def load_text(self, text: str | bytes, path: str = COMMAND_LINE) -> None:
        """Apply lines of a file; `path` is what errors call it. Raises ConfigError."""
        self._load(encode(text) if isinstance(text, str) else text, path, 0)

    def load_argv(self, argv: Sequence[str | bytes], stdin: BinaryIO | None = None) -> None:
        """Apply a command line, without the program's name: file, stdin, then the options."""
        arguments = parse_argv(argv)
        if arguments.file is not None:
            self.load_file(arguments.file)
        if arguments.stdin:
            self.load_text((stdin or sys.stdin.buffer).read(), STDIN)
        self.load_text(arguments.text)

    def set_keywords(self, keywords: Mapping[str, object]) -> None:
        """Apply Python keywords: ``{"appendfsync": "always", "save": [(60, 1000)]}``.

        An underscore stands for a dash. Values are those of Python, or text as in a file; each
        replaces the whole value. Raises ConfigError, and then nothing has changed.
        """
        values: dict[str, Any] = {}
        for keyword, given in keywords.items():
            name = keyword.replace("_", "-").lower()
            option = self._options.get(name, self._options.get(keyword))
            if option is None:
                raise ConfigError(f"there is no option '{name}'")
            try:
                values[option.name] = option.kind.convert(given, self._values[option.name])
            except ConfigError as error:
                shown = "(a secret)" if option.sensitive else repr(given)
                raise ConfigError(f"{keyword}={shown}: {error.why}") from None
        for name, value in values.items():
            self._values[name] = value
            self._explicit.add(name)
            self._lines.pop(name, None)

    def _load(self, text: bytes, path: str, depth: int) -> None:
        for line in parse_lines(text, path):
            if line.name == "include" and len(line.words) == 2:
                self._include(line, depth + 1)
            else:
                self._apply(line)

    def _include(self, line: Line, depth: int) -> None:
        if depth > MAX_INCLUDES:
            raise line.error("files include each other without end")
        for path in included_files(decode(line.words[1]), self._values["dir"]):
            try:
                text = read_file(path)
            except ConfigError as error:
                raise line.error(error.why) from None
            self._load(text, path, depth)

    def _apply(self, line: Line) -> None:
        option = self._options.get(line.name)
        if option is None:
            self._apply_unknown(line)
            return
        name = option.name
        current = self._values[name]
        try:
            value = option.parse_line(line.words[1:], current)
        except ConfigError as error:
            raise line.error(error.why) from None
        # The first line replaces the default, further ones add to it, an empty one clears it.
        if option.kind.adds_up and name in self._lines and value:
            value = current + value
        self._values[name] = value
        self._explicit.add(name)
        self._lines.setdefault(name, []).append(line)

    def _apply_unknown(self, line: Line) -> None:
        if line.name in DEPRECATED and len(line.words) == 2:
            return
        if line.name == "sentinel":
            raise line.error("sentinel directive while not in sentinel mode")
        if line.name == "include" or not self._hold_unknown:
            raise line.error(BAD_DIRECTIVE)
        self._held.append(line)

    # --- CONFIG GET and SET -------------------------------------------------------------------

    def get_matching(self, patterns: Iterable[bytes]) -> dict[bytes, bytes]:
        """CONFIG GET: names and values. A plain name answers as it was written."""
        found: dict[bytes, bytes] = {}
        seen: set[str] = set()
        for pattern in patterns:
            for written, name in self._find(pattern):
                if name not in seen:
                    seen.add(name)
                    found[written] = self.show(name)
        return found

    def _find(self, pattern: bytes) -> Iterable[tuple[bytes, str]]:
        if not any(byte in pattern for byte in b"[*?"):
            option = self.option(pattern)
            if option is not None and not option.file_only:
                yield pattern, decode(pattern.lower())
            return
        glob = Glob(pattern, nocase=True)
        for name, option in self._options.items():
            if not (option.hidden or option.file_only) and glob.match(encode(name)):
                yield encode(name), name

    def subscribe(self, name: str, callback: Callable[[Any], None]) -> None:
        """Have `callback` called with the new value whenever CONFIG SET has changed it.

        It may refuse by ConfigError, ValueError or OSError: then the whole command is undone, and
        callbacks that were called are called again with the old values.
        """
        self._subscribers.setdefault(self._options[name].name, []).append(callback)

    def unsubscribe(self, owner: object) -> None:
        """Call no method of ``owner`` any more."""
        for name, callbacks in self._subscribers.items():
            self._subscribers[name] = [
                callback
                for callback in callbacks
                if getattr(callback, "__self__", None) is not owner
            ]

    def decide(self, names: Iterable[str], callback: Callable[[set[str]], None]) -> None:
        """Have `callback` called when CONFIG SET has changed any of `names`, and all subscribers
        agree; it gets the changed ones. It may refuse as they do. Nothing comes behind it, so what
        it does is never undone; there is one."""
        self._last = frozenset(names), callback

    def set_many(
        self, pairs: Sequence[tuple[bytes, bytes]], *, loading: bool = False, local: bool = False
    ) -> None:
        """CONFIG SET: all of `pairs`, or none of them and CommandError, worded as Redis.

        `loading`: a load is going on. `local`: the client is on this machine, which matters to
        ``enable-protected-configs local``.
        """
        options = self._settable(pairs, loading, local)
        old = {option.name: self._values[option.name] for option in options}
        for option, (name, argument) in zip(options, pairs):
            try:
                self._values[option.name] = option.kind.parse_argument(argument, old[option.name])
            except ConfigError as error:
                self._values.update(old)
                raise _refusal(decode(name.lower()), error.why) from None
        self._announce(old)
        self._explicit.update(old)

    def _settable(
        self, pairs: Sequence[tuple[bytes, bytes]], loading: bool, local: bool
    ) -> list[Option]:
        """The options of `pairs`, each of which may be changed now; else CommandError."""
        options: list[Option] = []
        names: set[bytes] = set()  # as in Redis, an alias is not the same
        for name, _ in pairs:
            written = decode(name)
            option = self.option(name)
            if option is None or option.file_only:
                raise _error(f"Unknown option or number of arguments for CONFIG SET - '{written}'")
            if not option.mutable:
                raise _refusal(written, "can't set immutable config")
            if option.protected and not self._allows_protected(local):
                raise _refusal(written, "can't set protected config")
            if loading and option.denied_while_loading:
                raise CommandError("LOADING Redis is loading the dataset in memory")
            if name.lower() in names:
                raise _refusal(written, "duplicate parameter")
            names.add(name.lower())
            options.append(option)
        return options

    def _allows_protected(self, local: bool) -> bool:
        allowed = self._values["enable-protected-configs"]
        return allowed == "yes" or (allowed == "local" and local)

    def _announce(self, old: Mapping[str, Any]) -> None:
        """Tell the subscribers what differs from `old`; put `old` back if one refuses."""
        called: list[tuple[Callable[[Any], None], str]] = []
        changed = [name for name, value in old.items() if self._values[name] != value]
        name = ""
        try:
            for name in changed:
                for callback in self._subscribers.get(name, ()):
                    called.append((callback, name))
                    callback(self._values[name])
            if self._last is not None:
                names, decide = self._last
                ours = [name for name in changed if name in names]
                if ours:
                    name = ours[0]
                    decide(set(ours))
        except (ConfigError, ValueError, OSError) as error:
            self._values.update(old)
            _call_again(called, old)
            raise _refusal(name, _reason(error)) from None

    # --- CONFIG REWRITE -----------------------------------------------------------------------

    def rewrite(self, path: str | None = None, users: Iterable[bytes] | None = None) -> None:
        """CONFIG REWRITE: make the file say what is set now; raises CommandError.

        Comments, order, and every line that is still true stay as they are. What changed is
        written in its place, what is new at the end. `users`: what shall follow ``user``, one
        item for each line; None leaves those lines alone.
        """
        path = path or self.path
        if path is None:
            raise _error("The server is running without a config file")
        try:
            text = b""
            if os.path.exists(path):
                with open(path, "rb") as file:
                    text = file.read()
            replace_file(path, self.rewritten(text, users))
        except OSError as error:
            raise _error(f"Rewriting config file: {error.strerror}") from None

    def rewritten(self, text: bytes, users: Iterable[bytes] | None = None) -> bytes:
        """The content of a file as `rewrite` changes it."""
        document, said = self._read_document(text)
        for option in self._declared:
            name = option.name
            value = self._values[name]
            if option.file_only or (name in said and said[name] == value):
                continue
            if name in said or value != option.default:
                document.put(name, [encode(name) + b" " + x for x in option.kind.lines(value)])
        if users is not None:
            document.put("user", [b"user " + user for user in users])
        return document.text()

    def _read_document(self, text: bytes) -> tuple[Document, dict[str, Any]]:
        """`text` in lines that know their options, and what it says about each option."""
        document = Document(text)
        alone = Config(self._declared)
        # A relative directory counts from where the process started, not from where it is.
        alone._values["dir"] = self.start_directory
        broken: set[str] = set()
        for number, raw in enumerate(text.split(b"\n"), 1):
            try:
                line = parse_line(raw, "", number)
            except ConfigError:
                document.disable(number)
                continue
            if line is None or line.name == "include" or line.name in DEPRECATED:
                continue
            option = self._options.get(line.name)
            if option is None:
                document.disable(number)
                continue
            document.own(option.name, number)
            try:
                alone._apply(line)
            except ConfigError:
                broken.add(option.name)
        said = {name: alone._values[name] for name in alone._explicit}
        said.update(dict.fromkeys(broken, _MISSING))
        return document, said


class _Missing:
    pass


_MISSING: Final = _Missing()


def format_fatal(error: ConfigError) -> str:
    """What the server prints before it exits because of `error`; the lines are Redis'."""
    lines = [f"*** FATAL CONFIG FILE ERROR (kvcore {__version__}) ***"]
    if error.line:
        where = "" if error.path == COMMAND_LINE else f" of {error.path}"
        lines.append(f"Reading the configuration file, at line {error.line}{where}")
        lines.append(f">>> '{error.text}'")
    lines.append(error.why)
    return "\n".join(lines)


def _working_directory() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # removed under us
        return ""


def _call_again(called: list[tuple[Callable[[Any], None], str]], old: Mapping[str, Any]) -> None:
    for callback, name in called:
        try:
            callback(old[name])
        except (ConfigError, ValueError, OSError):
            # The one that refused may refuse again; the reply already tells of it.
            continue


def _reason(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return error.why
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _error(text: str) -> CommandError:
    """An error reply; what a client sent back in it cannot begin another reply."""
    return CommandError("ERR " + text.replace("\r", " ").replace("\n", " "))


def _refusal(name: str, why: str) -> CommandError:
    return _error(f"CONFIG SET failed (possibly related to argument '{name}') - {why}")
