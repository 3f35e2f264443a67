"""`shoal seed` as a service: it follows the catalogue and `config.toml`."""

import json
import os
import plistlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.cli import run as run_here
from shoal.cli import service
from tests.helpers.commands import LOOPBACK, free_port, run
from tests.helpers.process import Program


@pytest.fixture
def user(tmp_path: Path) -> dict[str, str]:
    """Return the variables of a user with an empty home."""
    names = ("XDG_DATA_HOME", "XDG_CONFIG_HOME")
    return {name: str(tmp_path / name) for name in names}


def make_file(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(os.urandom(100_000))
    return path


def share_once(path: Path, user: dict[str, str]) -> str:
    """Share a file for a moment, so that it is in the catalogue; return the link."""
    argv = [sys.executable, "-m", "shoal", "share", str(path), "--json"]
    with Program(argv, env={**os.environ, **LOOPBACK, **user}) as program:
        start = json.loads(program.wait_line('"start"', stream="out").string)
    link: str = start["link"]
    return link


def test_seed_follows_the_catalogue(tmp_path: Path, user: dict[str, str]) -> None:
    with run("seed", "--json", env=user) as seed:
        path = make_file(tmp_path, "later")
        link = share_once(path, user)
        start = json.loads(seed.wait_line('"start"', stream="out").string)
        assert (start["link"], start["path"]) == (link, str(path))
        words = (link, "-o", tmp_path / "copy", "--peer", f"127.0.0.1:{start['port']}")
        with run("get", *words) as get:
            assert get.finish().code == 0
        left = json.loads(seed.wait_line('"left"', stream="out").string)
        assert (left["event"], left["link"]) == ("peer", link)
        with run("forget", path, env=user) as forget:
            assert forget.finish().code == 0
        left = json.loads(seed.wait_line('"unlisted"', stream="out").string)
        assert left == {"v": 1, "event": "unlisted", "link": link, "name": "later"}


def path_of(seed: Program, number: int) -> str:
    """Return the path of the copy that `shoal seed` shares as this number."""
    line = seed.wait_line('"start"', count=number, stream="out").string
    path: str = json.loads(line)["path"]
    return path


def get_from(once: Program, into: Path) -> None:
    """Download what a command shares."""
    start = json.loads(once.wait_line('"start"', stream="out").string)
    words = (start["link"], "-o", into, "--peer", f"127.0.0.1:{start['port']}")
    with run("get", *words) as get:
        assert get.finish().code == 0


def uploads_to_complete(once: Program) -> list[bool]:
    """Wait until `share --once` ends; return whether each complete peer got bytes."""
    ended = once.finish()
    assert ended.code == 0
    lines = map(json.loads, ended.stdout.splitlines())
    return [each["uploaded"] > 0 for each in lines if each.get("state") == "complete"]


def test_seed_is_no_receiver_of_what_this_user_shares(
    tmp_path: Path, user: dict[str, str]
) -> None:
    path, port = make_file(tmp_path, "file"), free_port()
    words = ("share", path, "--once", "--json", "--peer", f"127.0.0.1:{port}")
    with run("seed", "--json", "--port", port, env=user) as seed:
        with run(*words, env=user) as once:
            once.wait_line('"start"', stream="out")
            other = make_file(tmp_path, "other")
            share_once(other, user)
            # `seed` has seen the first file, too, and leaves it to that command.
            assert path_of(seed, 1) == str(other)
            get_from(once, tmp_path / "one")
            assert uploads_to_complete(once) == [True]
        assert path_of(seed, 2) == str(path)  # the command has ended
        with run(*words, env=user) as once:
            once.wait_line('"joined"', stream="out")  # `seed`, which has everything
            get_from(once, tmp_path / "two")
            assert uploads_to_complete(once) == [True]


def test_limits_follow_config_toml(tmp_path: Path, user: dict[str, str]) -> None:
    config = tmp_path / "config.toml"
    config.write_text('limit-down = "1M"\n')
    argv = ["setsid", sys.executable, "-m", "shoal", "seed"]
    env = {**os.environ, **LOOPBACK, **user, "SHOAL_CONFIG": str(config)}
    make_file(tmp_path, "file")
    share_once(tmp_path / "file", user)
    with Program([*argv, "--limit-up", "9M"], env=env) as program:
        program.wait_line("Ctrl-C", stream="err")
        config.write_text('limit-down = "1M"\nlimit-up = "2M"\nschedule = "no"\n')
        program.wait_line("'no' is not a schedule; write .* The limits stay")
        rows = ["00:00-24:00,down=3M", "00:00-24:00,down=4M"]
        config.write_text(f'limit-up = "2M"\nschedule = {json.dumps(rows)}\n')
        program.wait_line(r"Limits: up 9\.0 MiB/s, down 3\.0 MiB/s\.")
        stamp = config.stat()
        config.write_text(config.read_text().replace("=3M", "=5M"))
        os.utime(config, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        program.send(signal.SIGHUP)
        program.wait_line(r"Limits: up 9\.0 MiB/s, down 5\.0 MiB/s\.")
        program.send(signal.SIGTERM)
        assert program.finish().code == 143


# The service.


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file with the calls of `systemctl` and `launchctl`."""
    log, folder = tmp_path / "calls", tmp_path / "bin"
    folder.mkdir()
    for name in ("systemctl", "launchctl"):
        tool = folder / name
        fails = f"[ ! -e {tmp_path}/no ]"
        tool.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n{fails}\n')
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "con fig"))
    monkeypatch.setenv("SHOAL_PORT", "4001")
    monkeypatch.setenv("SHOAL_LINK", "shoal:secret")
    return log


def install(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["shoal", "seed", *words])
    return run_here(["seed", *words])


def test_a_systemd_unit_is_installed_and_removed(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.toml").touch()
    monkeypatch.setenv("SHOAL_CONFIG", "here.toml")
    assert install(monkeypatch, "--install", "--http", "127.0.0.1:80", "-q") == 0
    unit = tmp_path / "con fig/systemd/user/shoal-seed.service"
    text = unit.read_text()
    assert f'"{sys.executable}" "-m" "shoal" "seed" "--http" "127.0.0.1:80"' in text
    assert 'Environment="SHOAL_PORT=4001"\n' in text
    assert f'Environment="SHOAL_CONFIG={tmp_path}/here.toml"\n' in text
    assert "secret" not in text
    assert 'ExecStart="/50%%/$$HOME"' in service._unit(["/50%/$HOME"])
    assert unit.stat().st_mode & 0o077 == 0
    verify = ["systemd-analyze", "--user", "--man=no", "verify", str(unit)]
    checked = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert "shoal-seed" not in checked.stderr, checked.stderr
    assert install(monkeypatch, "--uninstall") == 0
    assert not unit.exists()
    calls = [line.split(" ", 2)[2] for line in tools.read_text().splitlines()]
    assert calls == [
        *("daemon-reload", "daemon-reload"),
        *("enable shoal-seed.service", "restart shoal-seed.service"),
        *("disable --now shoal-seed.service", "daemon-reload"),
    ]


LAUNCHD_KEYS: dict[str, type] = {
    "Label": str,
    "ProgramArguments": list,
    "EnvironmentVariables": dict,
    "RunAtLoad": bool,
    "KeepAlive": dict,
    "ThrottleInterval": int,
    "StandardErrorPath": str,
    "StandardOutPath": str,
}
"""The keys that a launch agent of ours needs, with the types that launchd.plist(5)
documents. launchd ignores keys that it does not know, so a misspelt one has no effect.
"""


def test_a_launch_agent_has_the_keys_that_launchd_documents(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert install(monkeypatch, "--install") == 0
    agent = tmp_path / "Library/LaunchAgents/org.shoal.seed.plist"
    found = plistlib.loads(agent.read_bytes())
    assert {name: type(value) for name, value in found.items()} == LAUNCHD_KEYS
    assert agent.name == f"{found['Label']}.plist"
    words = [*found["ProgramArguments"], *found["EnvironmentVariables"].values()]
    assert all(isinstance(word, str) for word in words)
    # A job that fails is started again; one that ends well was ended by its user.
    assert found["KeepAlive"] == {"SuccessfulExit": False}
    # All paths are absolute: launchd has neither PATH nor folder of ours.
    paths = found["ProgramArguments"][0], found["StandardErrorPath"]
    assert all(map(os.path.isabs, (*paths, found["StandardOutPath"])))


def test_a_launch_agent_is_installed_and_removed(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert install(monkeypatch, "--install", "--limit-up", "5M") == 0
    agent = tmp_path / "Library/LaunchAgents/org.shoal.seed.plist"
    found = plistlib.loads(agent.read_bytes())
    words = [sys.executable, "-m", "shoal", "seed", "--limit-up", "5M", "--no-progress"]
    assert found["ProgramArguments"] == words
    assert found["EnvironmentVariables"]["SHOAL_PORT"] == "4001"
    assert install(monkeypatch, "--uninstall") == 0
    assert not agent.exists()
    domain = f"gui/{os.getuid()}"
    assert tools.read_text().splitlines()[1] == f"launchctl bootstrap {domain} {agent}"


def test_what_fails_is_told_with_what_to_do(
    tools: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert install(monkeypatch, "--uninstall") == 1
    assert "no service is installed" in capsys.readouterr().err
    (tmp_path / "no").touch()
    assert install(monkeypatch, "--install") == 1
    assert "systemctl --user daemon-reload failed" in capsys.readouterr().err
    assert not (tmp_path / "con fig/systemd").exists()
    assert install(monkeypatch, "--install", "--uninstall") == 2
    monkeypatch.setattr(sys, "platform", "win32")
    assert install(monkeypatch, "--install") == 2
    assert "cannot install a service on this system" in capsys.readouterr().err
