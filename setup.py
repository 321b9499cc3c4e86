"""Compiles the hot modules with mypyc where that is possible; the rest is in pyproject.toml.

``KVCORE_COMPILE=1`` forces compilation (and fails without a C compiler), ``KVCORE_COMPILE=0``
forbids it. Without the variable a build compiles if it can and falls back to plain Python if it
cannot; an editable install stays plain, so that an edit takes effect.
"""

from __future__ import annotations

import os
import sys
from glob import glob

from setuptools import setup
from setuptools.command.build_ext import build_ext

# Cold modules stay plain: a traceback is better there than a nanosecond. errors and reply must:
# mypyc has no native subclasses of built-in exceptions, bytes and lists that Python code extends.
HOT = [
    "kvcore/codec/*.py",
    "kvcore/table.py",
    "kvcore/resp.py",
    "kvcore/datatype.py",
    "kvcore/keyspace.py",
    "kvcore/entries.py",
    "kvcore/freeing.py",
    "kvcore/command.py",
    "kvcore/commits.py",
    "kvcore/digest.py",
    "kvcore/engine.py",
    "kvcore/session.py",
    "kvcore/load.py",
    "kvcore/store.py",
    "kvcore/server/connection.py",
    "kvcore/server/app.py",
    "kvcore/families/*/*.py",
    "kvcore/admin/connection.py",
    "kvcore/admin/transactions.py",
]
COLD = ("__init__.py", "pieces.py")

# The build's environment holds none of our dependencies: their types are Any, and what plain
# modules make of them (attrs' classes) is for the linter's environment to check.
FLAGS = [
    "--config-file=",
    "--ignore-missing-imports",
    "--follow-imports=silent",
    "--python-version=3.11",
]

# All functions lie in one library that exports none but its modules' beginnings. Without this the
# compiler must assume that another library replaces one, and can neither inline nor call directly.
DIRECT_CALLS = ["-fvisibility=hidden"]

# Python's own flags ask for warnings, and what the compiler has to find out for them takes as long
# as all the rest. Nobody wrote that C by hand.
NO_WARNINGS = ["-Wno-all"]


def extensions(forced: bool) -> list[object]:
    """The mypyc extensions, or none where they cannot be made."""
    try:
        from mypyc.build import mypycify
    except ImportError:
        if forced:
            raise
        return []
    files = [file for pattern in HOT for file in sorted(glob(pattern)) if not file.endswith(COLD)]
    try:
        made = list(
            mypycify(
                [*FLAGS, *files],
                opt_level="3",
                debug_level="0",
                group_name="kvcore",
            )
        )
    except SystemExit:
        if forced:
            raise
        return []
    if sys.platform != "win32":
        for extension in made:
            arguments = extension.extra_compile_args
            extension.extra_compile_args = [*arguments, *DIRECT_CALLS, *NO_WARNINGS]
    return made


class BuildOrFallBack(build_ext):
    """Leaves plain Python behind if the C compiler is missing or fails, unless forced."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            if wanted == "1":
                raise
            sys.stderr.write(f"kvcore stays uncompiled: {error}\n")
            self.extensions = []


wanted = os.environ.get("KVCORE_COMPILE", "")
editable = "editable_wheel" in sys.argv
compiling = wanted == "1" or (wanted != "0" and not editable)
setup(
    ext_modules=extensions(forced=wanted == "1") if compiling else [],
    cmdclass={"build_ext": BuildOrFallBack},
)
