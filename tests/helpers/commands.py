"""The real command line on 127.0.0.1, with nothing that could leave the machine."""

import re
from pathlib import Path

from tests.helpers.process import Program
from tests.helpers.programs import shoal

__all__ = ["LOOPBACK", "peer_of", "rss", "run", "share", "share_open"]

LOOPBACK = {"SHOAL_INTERFACES": "lo", "SHOAL_LAN_ONLY": "1", "SHOAL_NO_LAN": "1"}
"""The variables that keep a command to this machine."""


def run(
    *args: object,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    has_input: bool = False,
) -> Program:
    """Start a command that looks at no network but `--peer`."""
    env = {**LOOPBACK, **(env or {})}
    return shoal(*args, env=env, cwd=cwd, has_input=has_input)


def share(*args: object) -> Program:
    """Start `shoal share` and wait until it serves."""
    program = run("share", *args)
    program.wait_line(r"Ctrl-C", stream="err")
    return program


def share_open(path: Path, *args: object) -> Program:
    """Start `shoal share --open` and wait until it serves.

    What follows may begin with the channel's name.
    """
    return share(path, "--open", *args)


def peer_of(program: Program) -> str:
    """Return where a `share` listens, as `--peer` takes it."""
    port = program.wait_line(r"on port (\d+)", stream="err")[1]
    return f"127.0.0.1:{port}"


def rss(program: Program) -> int:
    """Return the memory a program has in use, in KiB."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    assert found is not None
    return int(found[1])
