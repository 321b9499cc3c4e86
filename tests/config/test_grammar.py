from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kvcore.config.grammar import parse_argv, quote, quote_if_needed, split_args
from tests.support import RedisServer, start_redis

# No NUL: Redis waits for more then. A newline would end the command.
LINE = st.lists(
    st.one_of(
        st.sampled_from(
            [b'"', b"'", b"\\", b" ", b"\t", b"\r", b"\x0b", b"\x0c", b"\\x41", b"\\n", b'\\"']
        ),
        st.integers(1, 255).filter(lambda byte: byte != 10).map(lambda byte: bytes([byte])),
    ),
    max_size=12,
).map(b"".join)


class Inline:
    """A connection that speaks inline commands, and comes back after an error has closed it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def words(self, line: bytes) -> list[bytes] | None:
        """How Redis splits `line`; None if it refuses."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(self._path)
            self._replies = self._socket.makefile("rb")
        self._socket.sendall(b"DEL words\nRPUSH words first " + line + b"\nLRANGE words 1 -1\n")
        assert self._replies.readline().startswith(b":")
        if self._replies.readline().startswith(b"-ERR Protocol error: unbalanced quotes"):
            self.close()
            return None
        count = int(self._replies.readline()[1:])
        return [self._bulk() for _ in range(count)]

    def _bulk(self) -> bytes:
        size = int(self._replies.readline()[1:])
        return self._replies.read(size + 2)[:-2]

    def close(self) -> None:
        if self._socket is not None:
            self._replies.close()
            self._socket.close()
            self._socket = None


@pytest.fixture(scope="module")
def inline(oracle: RedisServer) -> Iterator[Inline]:
    connection = Inline(oracle.socket)
    yield connection
    connection.close()


@settings(max_examples=500)
@given(line=LINE)
@example(line=b'"a"b')
@example(line=b'a"b c"')
@example(line=b'"a\\x4g\\x4A\\q\\a"')
@example(line=b"'a\\'b\\n'")
@example(line=b'"a\\"')
@example(line=b'"a"\x0b')
@example(line=b'"a"\x1c')
@example(line=b"a\x0bb\x0c \x0cc")
@example(line=b'"\\x4')
@example(line=b"a\x85b\xa0c")
def test_splits_a_line_as_redis_does(inline: Inline, line: bytes) -> None:
    assert split_args(line) == inline.words(line)


@given(line=st.binary())
def test_a_nul_ends_the_line(line: bytes) -> None:
    assert split_args(line) == split_args(line.partition(b"\0")[0])


@given(words=st.lists(st.binary()))
def test_quoted_words_come_back(words: list[bytes]) -> None:
    line = b" ".join([quote(word) for word in words])
    assert line.isascii()
    assert b"\n" not in line
    assert split_args(line) == words
    assert split_args(b" ".join([quote_if_needed(word) for word in words])) == words


def test_quotes_as_redis_does(tmp_path: Path) -> None:
    word = bytes(range(1, 256))
    config_file = tmp_path / "redis.conf"
    config_file.write_bytes(b"")
    with start_redis(tmp_path, config_file=config_file) as server:
        client = server.client()
        client.config_set("masterauth", word)
        client.config_rewrite()
    assert b"masterauth %b\n" % quote(word) in config_file.read_bytes()


@pytest.mark.parametrize(
    ("argv", "file", "text"),
    [
        ([], None, b""),
        (["a.conf"], "a.conf", b""),
        (["a.conf", "--port", "7000"], "a.conf", b'port "7000"'),
        (["--save", "900", "1", "--appendonly", "yes"], None, b'save "900" "1"\nappendonly "yes"'),
        (["--port 7000", "--hz", "--5"], None, b'port 7000\nhz "--5"'),
        (["--save", "--hz", "5"], None, b'save ""\nhz "5"'),
        (["--save"], None, b'save ""'),
        (["--save", ""], None, b'save ""'),
        (["--maxmemory", "--port", "1"], None, b'maxmemory "--port" "1"'),
        (["-x", "y"], None, b'"-x" "y"'),
        (["--logfile", "a\nb\\"], None, b'logfile "a\\nb\\\\"'),
    ],
)
def test_a_command_line_becomes_text(argv: list[str], file: str | None, text: bytes) -> None:
    arguments = parse_argv(argv)
    assert (arguments.file, arguments.stdin, arguments.text) == (file, False, text)


@pytest.mark.parametrize(
    ("argv", "stdin"),
    [
        (["-"], True),
        (["a.conf", "-"], True),
        (["--port", "1", "-"], True),
        (["--a", "-", "b"], False),
    ],
)
def test_a_dash_reads_stdin_where_redis_looks_for_it(argv: list[str], stdin: bool) -> None:
    assert parse_argv(argv).stdin == stdin
