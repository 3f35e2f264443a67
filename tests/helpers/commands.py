"""Run the real command line on 127.0.0.1; nothing can leave the machine."""

import os
import re
import shutil
import socket
import sys
from pathlib import Path

from tests.helpers.process import Finished, Program
from tests.helpers.programs import shoal
from tests.helpers.requirements import require

__all__ = [
    "code_of",
    "cpu_time",
    "LOOPBACK",
    "Shared",
    "free_port",
    "in_shell",
    "link_of",
    "mistyped",
    "peak_rss",
    "peer_of",
    "rss",
    "run",
    "share",
    "share_open",
    "unprivileged",
]

LOOPBACK = {"SHOAL_INTERFACES": "lo", "SHOAL_LAN_ONLY": "1", "SHOAL_NO_LAN": "1"}
"""The variables that confine a command to this machine."""


def run(
    *args: object,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    has_input: bool = False,
) -> Program:
    """Start a command that finds peers by `--peer` only."""
    env = {**LOOPBACK, **(env or {})}
    return shoal(*args, env=env, cwd=cwd, has_input=has_input)


def share(*args: object) -> Program:
    """Start `shoal share` and wait until it serves."""
    program = run("share", *args)
    program.wait_line(r"Ctrl-C", stream="err")
    return program


def share_open(path: Path, *args: object) -> Program:
    """Start `shoal share --open` and wait until it serves.

    `args` may begin with the channel's name.
    """
    return share(path, "--open", *args)


def in_shell(script: str, *args: object) -> Program:
    """Start a command of shoal as `"$@"` in a script of the shell."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SHOAL_")}
    argv = [sys.executable, "-m", "shoal", *map(str, args)]
    return Program(["sh", "-c", script, "sh", *argv], env={**clean, **LOOPBACK})


def unprivileged(*args: object) -> Program:
    """Start a command that obeys file permissions, even if root runs the tests."""
    words = [sys.executable, "-m", "shoal", *map(str, args)]
    if os.geteuid() == 0:
        require(None if shutil.which("setpriv") else "setpriv is not installed")
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *words]
    return Program(words, env={**os.environ, **LOOPBACK})


def free_port() -> int:
    """Return a TCP port that no program uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def link_of(program: Program) -> str:
    """Return the link that a running `share` has printed."""
    return program.wait_line("^shoal:", stream="out").string


def code_of(program: Program) -> str:
    """Wait until `share --code` prints the code, and return it."""
    return program.wait_line(r"^\d{4}(-[a-z]{3,8}){3}$", stream="out")[0]


def mistyped(code: str) -> str:
    """Return a code with another last word."""
    begin, _, last = code.rpartition("-")
    return f"{begin}-{'zoo' if last != 'zoo' else 'able'}"


def peer_of(program: Program) -> str:
    """Return the address of a running `share`, as a value for `--peer`."""
    port = program.wait_line(r"on port (\d+)", stream="err")[1]
    return f"127.0.0.1:{port}"


def rss(program: Program) -> int:
    """Return the memory that a program uses, in KiB."""
    return _memory(program, "VmRSS")


def peak_rss(program: Program) -> int:
    """Return the most memory that a program has used at a time, in KiB."""
    return _memory(program, "VmHWM")


def cpu_time(program: Program) -> float:
    """Return the time that processors have worked for a program, in seconds."""
    fields = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2]
    return sum(map(int, fields.split()[11:13])) / os.sysconf("SC_CLK_TCK")


def _memory(program: Program, name: str) -> int:
    status = Path(f"/proc/{program.pid}/status").read_text()
    found = re.search(rf"{name}:\s+(\d+)", status)
    assert found is not None
    return int(found[1])


class Shared:
    """A file or folder that a running `share` serves."""

    def __init__(self, path: Path, program: Program) -> None:
        self.path = path
        self.program = program
        self.link = link_of(program)
        self.peer = peer_of(program)

    def do(self, command: str, *args: object) -> Finished:
        """Run a command with the link to its end."""
        return run(command, self.link, *args, "--peer", self.peer).finish()
