"""The real command with a terminal to speak to."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.helpers.commands import LOOPBACK

__all__ = ["at_terminal"]


def at_terminal(*words: str, cwd: Path) -> str:
    """Run a command whose standard error is a terminal; return what that showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "shoal", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        cwd=cwd,
        env={**os.environ, **LOOPBACK, "TERM": "xterm-256color", "COLUMNS": "200"},
    )
    os.close(theirs)
    shown = b""
    try:
        while more := os.read(ours, 1 << 16):
            shown += more
    except OSError:  # the terminal's other end is closed
        pass
    finally:
        os.close(ours)
        process.kill() if process.poll() is None and not shown else None
        process.wait(20)
    return shown.decode()
