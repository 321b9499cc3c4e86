"""What the repository promises to whoever clones it: commands, versions, and the shipped file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kvcore.version import __version__
from tests.support import start_redis

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))


def project(folder: Path) -> dict[str, Any]:
    with open(folder / "pyproject.toml", "rb") as file:
        table: dict[str, Any] = tomllib.load(file)["project"]
    return table


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ *(python3 -m venv .*)$", ci, re.MULTILINE)
    assert f"\n{command}\n" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", [ROOT, *PLUGINS], ids=lambda path: path.name)
def test_all_distributions_have_one_version_and_one_licence(folder: Path) -> None:
    assert project(folder)["version"] == __version__
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_can_be_had_from_the_checkout_and_as_an_extra(folder: Path) -> None:
    extras = project(ROOT)["optional-dependencies"]
    assert extras[folder.name][0].startswith(f"kvcore-{folder.name}>=")
    assert re.search(rf"\[.*\b{folder.name}\b.*\]", extras["all"][0])
    for file, line in (("requirements.txt", "./plugins/"), ("requirements-dev.txt", "-e plugins/")):
        assert f"{line}{folder.name}\n" in (ROOT / file).read_text(encoding="utf-8")


def test_redis_takes_the_shipped_configuration_without_our_one_directive(tmp_path: Path) -> None:
    shipped = (ROOT / "kvcore.conf").read_text(encoding="utf-8")
    theirs, count = re.subn(r"^persistence hybrid\n", "", shipped, flags=re.MULTILINE)
    assert count == 1
    (tmp_path / "data").mkdir()  # Redis does not make it
    config_file = tmp_path / "redis.conf"
    config_file.write_text(theirs, encoding="utf-8")
    with start_redis(tmp_path, config_file=config_file) as server:
        assert server.client().config_get("appendfsync") == {"appendfsync": "everysec"}
