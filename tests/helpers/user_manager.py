"""The systemd of a user, in namespaces of its own.

systemd refuses to run unless it started the machine, which it finds out by a folder in
/run. So it gets a /run of its own, and a control group of its own to put services into.

with UserManager(namespace, home) as manager:
    manager.run("systemctl", "--user", "is-system-running")
"""

import os
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from typing import Self

from tests.helpers.netns import Namespace
from tests.helpers.process import Program, capture

__all__ = ["UserManager", "missing_user_manager"]

SYSTEMD = "/lib/systemd/systemd"
_GROUPS = Path("/sys/fs/cgroup")
_SCRIPT = """
mount --make-rprivate / && mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system &&
mkdir -m 700 "$XDG_RUNTIME_DIR" || exit
for each in $GROUPS_OF_TEST; do
    mkdir "$each" && echo $$ > "$each/cgroup.procs" || exit
done
echo ready
exec "$0" --user --log-target=console --log-level=warning
"""


def _hierarchies() -> list[Path]:
    """Return the trees of control groups that systemd uses, of each version."""
    if (_GROUPS / "cgroup.procs").exists():
        return [_GROUPS]
    mixed = (_GROUPS / "systemd", _GROUPS / "unified")
    return [each for each in mixed if each.exists()]


def missing_user_manager() -> str | None:
    """Return why systemd cannot run here; None if it can."""
    if not os.access(SYSTEMD, os.X_OK) or shutil.which("systemctl") is None:
        return "systemd is not installed"
    if os.geteuid() != 0:
        return "only root may give systemd a /run of its own"
    if not all(os.access(each, os.W_OK) for each in _hierarchies()):
        return "control groups cannot be made here"
    return None if _hierarchies() else "there are no control groups here"


class UserManager:
    """A running `systemd --user`."""

    def __init__(self, namespace: Namespace, home: Path) -> None:
        """Start it with `home` as the home of the user."""
        self._groups = [each / f"shoal-{os.getpid()}" for each in _hierarchies()]
        self._env = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "XDG_RUNTIME_DIR": "/run/user",
            "GROUPS_OF_TEST": " ".join(map(str, self._groups)),
        }
        argv = ["unshare", "--mount", "sh", "-c", _SCRIPT, SYSTEMD]
        self._program = Program(argv, namespace=namespace, env=self._env)

    def __enter__(self) -> Self:
        self._program.wait_line("ready", stream="out")
        # The socket is there before systemd answers.
        script = "until [ -S /run/user/systemd/private ]; do sleep 0.02; done"
        self.run("sh", "-c", script)
        self.run("systemctl", "--user", "is-system-running", "--wait")
        return self

    def __exit__(self, *exc: object) -> None:
        self.run("systemctl", "--user", "exit", "--force")
        self._program.finish()
        for group in self._groups:
            self._remove(group)

    def run(
        self, *argv: str, env: dict[str, str] | None = None
    ) -> CompletedProcess[str]:
        """Run a command of the user to its end."""
        enter = ["nsenter", "--target", str(self._program.pid), "--mount", "--net"]
        return capture([*enter, "--", *argv], env={**self._env, **(env or {})})

    def property(self, unit: str, name: str) -> str:
        """Return a property of a unit, such as `ActiveState`."""
        words = ("systemctl", "--user", "show", "--value", f"--property={name}", unit)
        return self.run(*words).stdout.strip()

    def _remove(self, group: Path) -> None:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)
