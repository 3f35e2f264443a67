"""`shoal seed --install`: a service of the user that runs `shoal seed`.

It is a unit of systemd on Linux, and a launch agent of launchd on macOS. Both start
when the user logs in, and again after a failure.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from shoal.cli.output import Output
from shoal.errors import ShoalError, StoreError, UsageError

__all__ = ["install", "tell_started", "uninstall"]

UNIT = "shoal-seed.service"
LABEL = "org.shoal.seed"
RESTART = 10  # seconds from a failure to the next start
_NOT_PASSED = ("--install", "--uninstall", "--quiet", "-q", "--verbose", "-v", "--json")
_VARIABLES = ("XDG_DATA_HOME", "XDG_CONFIG_HOME")
_UNIT = """\
# Written by shoal seed --install; shoal seed --uninstall removes it.
[Unit]
Description=Share again what was shared and downloaded with shoal
Documentation=man:shoal(1)

[Service]
Type=notify
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
{environment}Restart=on-failure
RestartSec={restart}
# That of a program which SIGTERM ends.
SuccessExitStatus=143

[Install]
WantedBy=default.target
"""


def install(output: Output) -> None:
    """Write and start the service; a second call replaces the first.

    Raises `UsageError` where there are no such services, `StoreError` or `ShoalError`.
    """
    words = [sys.executable, "-m", "shoal", *_own_arguments(), "--no-progress"]
    if sys.platform == "darwin":
        path = _agent_path()
        _write(path, _agent(words))
        _run("launchctl", "bootout", f"{_domain()}/{LABEL}", may_fail=True)
        _run("launchctl", "bootstrap", _domain(), str(path))
        output.say(f"{path} is written and started; its log is {_log_path()}.")
    else:
        _check_linux()
        path = _unit_path()
        # Without the user's systemd, this fails before anything is written.
        _run("systemctl", "--user", "daemon-reload")
        _write(path, _unit(words).encode())
        _run("systemctl", "--user", "daemon-reload")
        _run("systemctl", "--user", "enable", UNIT)
        _start(path)
        output.say(f"{path} is written and started.")
        output.say("To run it also while you are not logged in: loginctl enable-linger")
        output.say(f"Its log: journalctl --user -u {UNIT}")
    output.event("complete", service=str(path))


def uninstall(output: Output) -> None:
    """Stop and remove the service; raises as `install`, and if there is none."""
    if sys.platform == "darwin":
        path = _agent_path()
        _check_installed(path)
        _run("launchctl", "bootout", f"{_domain()}/{LABEL}", may_fail=True)
        path.unlink(missing_ok=True)
    else:
        _check_linux()
        path = _unit_path()
        _check_installed(path)
        _remove(path)
    output.say(f"The service is stopped, and {path} is removed.")
    output.event("complete", service=str(path))


def _start(path: Path) -> None:
    """Start the service; if it fails, remove it and raise `ShoalError`."""
    try:
        _run("systemctl", "--user", "restart", UNIT)
    except ShoalError:
        _remove(path)
        raise ShoalError(
            "The service did not start, and is removed again. To see why, run shoal "
            f"seed with the same options, or journalctl --user -u {UNIT}."
        ) from None


def _remove(path: Path) -> None:
    _run("systemctl", "--user", "disable", "--now", UNIT)
    path.unlink(missing_ok=True)
    _run("systemctl", "--user", "daemon-reload")


def tell_started() -> None:
    """Tell systemd, if it has started this process, that it works; sd_notify(3)."""
    place = os.environ.pop("NOTIFY_SOCKET", "")
    if not place:
        return
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        with suppress(OSError):  # systemd ends the service if it hears nothing
            sock.connect(place.replace("@", "\0", 1) if place[0] == "@" else place)
            sock.send(b"READY=1")


def _own_arguments() -> list[str]:
    """Return the arguments of this command that the service should have, too."""
    words = [word for word in sys.argv[1:] if word not in _NOT_PASSED]
    return words


def _check_linux() -> None:
    if sys.platform != "linux":
        raise UsageError(
            "shoal cannot install a service on this system; start shoal seed at "
            "login yourself."
        )


def _check_installed(path: Path) -> None:
    if not path.exists():
        raise ShoalError(
            f"There is no {path}, so no service is installed; shoal seed --install "
            "installs it."
        )


# systemd.


def _unit_path() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME", "").strip() or "~/.config"
    return Path(os.path.expanduser(home), "systemd", "user", UNIT)


def _unit(words: Sequence[str]) -> str:
    """Return the text of the unit; systemd.exec(5) and systemd.service(5)."""
    return _UNIT.format(
        command=" ".join(map(_quoted, words)).replace("$", "$$"),
        environment="".join(
            f"Environment={_quoted(f'{name}={value}')}\n"
            for name, value in _environment().items()
        ),
        restart=RESTART,
    )


def _quoted(word: str) -> str:
    """Return a word as systemd reads it: quoted, and without specifiers."""
    for character in ("\\", '"'):
        word = word.replace(character, f"\\{character}")
    if not word.isprintable():
        raise UsageError(
            "The command of a service cannot have control characters; leave out or "
            "rename what has them."
        )
    return f'"{word.replace("%", "%%")}"'


def _environment() -> dict[str, str]:
    """Return the variables that the service needs to find the same files."""
    found = {
        name: value
        for name, value in sorted(os.environ.items())
        if (name.startswith("SHOAL_") and name != "SHOAL_LINK") or name in _VARIABLES
    }
    for name in ("SHOAL_CONFIG", *_VARIABLES):
        if found.get(name):  # the service has another current folder
            found[name] = os.path.abspath(os.path.expanduser(found[name]))
    return found


# launchd.


def _agent_path() -> Path:
    return Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist"


def _log_path() -> Path:
    return Path.home() / "Library" / "Logs" / f"{LABEL}.log"


def _domain() -> str:
    return f"gui/{os.getuid()}"


def _agent(words: Sequence[str]) -> bytes:
    """Return the file of the agent; launchd.plist(5)."""
    import plistlib

    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": list(words),
            "EnvironmentVariables": _environment(),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": RESTART,
            "StandardErrorPath": str(_log_path()),
            "StandardOutPath": "/dev/null",
        }
    )


def _write(path: Path, data: bytes) -> None:
    """Write the file of the service, which only this user may read."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.replace(draft, path)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror}); make its folder writable."
        ) from None


def _run(*words: str, may_fail: bool = False) -> None:
    """Run a program of the system; raise `ShoalError` with what it said if it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ShoalError(
            f"{words[0]} could not be run ({error.strerror}); start shoal seed at "
            "login in another way."
        ) from None
    if done.returncode and not may_fail:
        said = " ".join((done.stderr or done.stdout).split())
        raise ShoalError(
            f"{' '.join(words)} failed: {said or done.returncode}. Run it yourself to "
            "see why, then run this command again."
        )
