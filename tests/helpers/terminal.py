"""Run a program in a real terminal and read what it displays."""

import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pexpect
import pyte

from tests.helpers.commands import LOOPBACK
from tests.helpers.netns import Namespace

__all__ = ["PATH", "Terminal", "at_machine", "at_terminal"]

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
"""The search path for programs, with the folder of `shoal`."""
LINES = 24
_PATIENCE = 20.0  # seconds


class Terminal:
    """A program in its own terminal, which ends with the `with` block."""

    def __init__(
        self,
        *argv: object,
        env: Mapping[str, str] | None = None,
        columns: int = 80,
        cwd: Path | None = None,
    ) -> None:
        """Start `argv` with the variables of this process and the changes in `env`.

        Of shoal's variables, only those that confine it to this machine are passed.
        """
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SHOAL_")}
        for name in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"):
            clean.pop(name, None)
        program, *words = map(str, argv)
        self._log = _Log(columns)
        self._child = pexpect.spawn(
            program,
            words,
            env={**clean, **LOOPBACK, "TERM": "xterm", "PATH": PATH, **(env or {})},
            dimensions=(LINES, columns),
            timeout=_PATIENCE,
            cwd=cwd,
        )
        self._child.logfile_read = self._log

    @property
    def said(self) -> str:
        """Return all output so far, including control sequences."""
        return bytes(self._log.data).decode(errors="replace")

    @property
    def screen(self) -> list[str]:
        """Return the lines on the screen that are not empty."""
        lines = (line.rstrip() for line in self._log.screen.display)
        return [line for line in lines if line]

    def wait_screen(self, pattern: str) -> None:
        """Wait until a line on the screen matches a pattern as a whole."""
        deadline = time.monotonic() + _PATIENCE
        while not any(re.fullmatch(pattern, line) for line in self.screen):
            assert time.monotonic() < deadline, self.screen
            self._child.expect([pexpect.TIMEOUT, pexpect.EOF], timeout=0.05)

    def wait(self, pattern: str) -> None:
        """Wait until the output matches a pattern."""
        self._child.expect(pattern.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._child.sendintr()

    def send(self, text: str) -> None:
        """Type something."""
        self._child.send(text)

    def resize(self, columns: int) -> None:
        """Change the width of the terminal."""
        self._child.setwinsize(LINES, columns)
        self._log.screen.resize(LINES, columns)

    def finish(self) -> int:
        """Wait for the end; return the exit code."""
        self._child.expect(pexpect.EOF)
        self._child.close()
        status: int | None = self._child.exitstatus
        assert status is not None, f"ended by signal {self._child.signalstatus}"
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close(force=True)


def at_terminal(*words: str, cwd: Path) -> str:
    """Run a command of shoal in a wide terminal; return its output."""
    argv = (sys.executable, "-m", "shoal", *words)
    with Terminal(*argv, columns=200, cwd=cwd) as terminal:
        terminal.finish()
        return terminal.said


def at_machine(
    namespace: Namespace,
    command: str,
    folder: Path,
    *,
    columns: int,
    home: Path | None = None,
) -> Terminal:
    """Start a command, as a user types it, in a terminal of a machine.

    The user has a home of their own, in `folder` if `home` is None.
    """
    return Terminal(
        *namespace.command(["sh", "-c", f"exec {command}"]),
        columns=columns,
        cwd=folder,
        env={
            "SHOAL_INTERFACES": "",
            "SHOAL_NO_LAN": "",
            "XDG_DATA_HOME": str(home or folder / "home"),
        },
    )


class _Log:
    """Record the output, and show it on a screen; pexpect requires a file."""

    def __init__(self, columns: int) -> None:
        self.data = bytearray()
        self.screen = pyte.Screen(columns, LINES)
        self._stream = pyte.ByteStream(self.screen)

    def write(self, data: bytes) -> None:
        self.data += data
        self._stream.feed(data)

    def flush(self) -> None:
        pass
