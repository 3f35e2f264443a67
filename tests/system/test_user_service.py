"""`shoal seed --install` and `--uninstall` with the real systemd of a user."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.cli.service import UNIT
from tests.helpers.commands import free_port
from tests.helpers.netns import Namespace
from tests.helpers.requirements import require
from tests.helpers.user_manager import UserManager, missing_user_manager

SHOAL = (sys.executable, "-m", "shoal")


@pytest.fixture
def manager(namespace: Namespace, tmp_path: Path) -> Iterator[UserManager]:
    require(missing_user_manager())
    with UserManager(namespace, tmp_path) as running:
        yield running


def share_once(manager: UserManager, path: Path, env: dict[str, str]) -> str:
    """Share a file for a moment, so that it is in the catalogue; return the link."""
    words = (*SHOAL, "share", str(path), "--background")
    link = manager.run(*words, env=env).stdout.strip()
    assert manager.run(*SHOAL, "stop", link, env=env).returncode == 0
    return link


@pytest.mark.long
def test_the_service_runs_shares_and_is_removed(
    manager: UserManager, namespace: Namespace, tmp_path: Path
) -> None:
    # What a unit could read as a quote, a specifier, a variable or two words.
    odd = tmp_path / "50 %h \"of\" $HOME 'x'"
    odd.mkdir()
    env = {
        "XDG_DATA_HOME": str(odd),
        "SHOAL_INTERFACES": "lo",
        "SHOAL_LAN_ONLY": "1",
        "SHOAL_NO_LAN": "1",
    }
    source = tmp_path / "source"
    source.write_bytes(os.urandom(100_000))
    link = share_once(manager, source, env)
    port = str(free_port())

    installed = manager.run(*SHOAL, "seed", "--install", "--port", port, env=env)
    assert (installed.returncode, installed.stdout) == (0, ""), installed.stderr
    unit = tmp_path / ".config/systemd/user" / UNIT
    assert f"{unit} is written and started." in installed.stderr
    assert manager.property(UNIT, "ActiveState") == "active"
    assert manager.property(UNIT, "UnitFileState") == "enabled"

    # Another user downloads from the service: nothing else shares the file.
    out = tmp_path / "out"
    words = ("get", link, "-o", str(out), "--peer", f"127.0.0.1:{port}")
    alone = {**env, "XDG_DATA_HOME": str(tmp_path / "other")}
    assert manager.run(*SHOAL, *words, env=alone).returncode == 0
    assert out.read_bytes() == source.read_bytes()

    # SIGHUP reads the configuration again and does not end the service.
    pid = manager.property(UNIT, "MainPID")
    assert manager.run("systemctl", "--user", "reload", UNIT).returncode == 0
    assert manager.property(UNIT, "MainPID") == pid
    # A second call replaces the service.
    again = manager.run(*SHOAL, "seed", "--install", env=env)
    assert again.returncode == 0, again.stderr
    assert manager.property(UNIT, "ActiveState") == "active"
    assert manager.property(UNIT, "MainPID") != pid

    manager.run("systemctl", "--user", "stop", UNIT)
    assert manager.property(UNIT, "ActiveState") == "inactive"
    assert manager.property(UNIT, "Result") == "success"  # not a failure
    manager.run("systemctl", "--user", "start", UNIT)
    removed = manager.run(*SHOAL, "seed", "--uninstall", env=env)
    assert removed.returncode == 0, removed.stderr
    assert manager.property(UNIT, "LoadState") == "not-found"
    assert manager.property(UNIT, "ActiveState") == "inactive"
    assert not unit.exists()


@pytest.mark.long
def test_a_service_that_does_not_start_is_removed_again(
    manager: UserManager, namespace: Namespace, tmp_path: Path
) -> None:
    env = {"SHOAL_INTERFACES": "lo", "SHOAL_LAN_ONLY": "1", "SHOAL_NO_LAN": "1"}
    words = ("seed", "--install", "--http", "192.0.2.1:1")  # not of this machine
    failed = manager.run(*SHOAL, *words, env=env)
    assert failed.returncode == 1
    assert "The service did not start, and is removed again." in failed.stderr
    assert manager.property(UNIT, "LoadState") == "not-found"
    assert not (tmp_path / ".config/systemd/user" / UNIT).exists()
