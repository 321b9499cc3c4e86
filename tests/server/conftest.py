"""Servers for tests of the shell: on either event loop, and with plugins of the test's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.processes import Process, starting

# What `kvcore-server` does, without uvloop.
ASYNCIO = "import sys; sys.modules['uvloop'] = None; from kvcore.cli.server import main; main()"

# What a program does that brings its own hooks or policy; {} is replaced by the test's code,
# which defines `hooks` and `policy`.
EMBEDDING = """
import sys
from kvcore.cli import logs, process
from kvcore.config import Config
from kvcore.instance import Instance
from kvcore.server.app import Server, main_loop

hooks, policy = [], None
{}
config = Config(hold_unknown=True)
config.load_argv(sys.argv[1:])
process.enter_data_folder(config)
logs.configure(config)
sys.exit(main_loop(Server(Instance(config, hooks=hooks, replacement=policy))))
"""

Start = Callable[..., AbstractContextManager[Process]]


@pytest.fixture(params=["uvloop", "asyncio"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Start:
    """Start a server that keeps nothing, on each event loop."""

    def start(*args: str) -> AbstractContextManager[Process]:
        program = [sys.executable, "-c", ASYNCIO] if request.param == "asyncio" else None
        return starting(tmp_path, "--persistence", "none", *args, program=program, ready=True)

    return start


@pytest.fixture
def start_with(tmp_path: Path) -> Start:
    """Start a server of a program that adds the code given."""

    def start_with(code: str, *args: str) -> AbstractContextManager[Process]:
        program = [sys.executable, "-c", EMBEDDING.format(code)]
        return starting(tmp_path, "--persistence", "none", *args, program=program, ready=True)

    return start_with
