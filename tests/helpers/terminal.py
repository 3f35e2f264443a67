"""A program in a real terminal, to see what a person sees."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect

from tests.helpers.commands import LOOPBACK

__all__ = ["PATH", "Terminal", "at_terminal"]

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
"""Where programs are looked for: `shoal` among them."""
_PATIENCE = 20.0  # seconds


class Terminal:
    """Run one program in a terminal of its own; it ends with the block."""

    def __init__(
        self,
        *argv: object,
        env: Mapping[str, str] | None = None,
        columns: int = 80,
        cwd: Path | None = None,
    ) -> None:
        """Start `argv` with the variables of this process, as `env` changes them.

        No variable of shoal's is passed on but those that keep it to this machine.
        """
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SHOAL_")}
        for name in ("NO_COLOR", "COLUMNS", "LINES", "FORCE_COLOR"):
            clean.pop(name, None)
        program, *words = map(str, argv)
        self._log = _Log()
        self._child = pexpect.spawn(
            program,
            words,
            env={**clean, **LOOPBACK, "TERM": "xterm", "PATH": PATH, **(env or {})},
            dimensions=(24, columns),
            timeout=_PATIENCE,
            cwd=cwd,
        )
        self._child.logfile_read = self._log

    @property
    def said(self) -> str:
        """Return everything so far, control sequences and all."""
        return bytes(self._log.data).decode(errors="replace")

    def wait(self, pattern: str) -> None:
        """Wait until the program says what matches."""
        self._child.expect(pattern.encode())

    def send(self, text: str) -> None:
        """Type something."""
        self._child.send(text)

    def resize(self, columns: int) -> None:
        """Make the terminal wider or narrower."""
        self._child.setwinsize(24, columns)

    def finish(self) -> int:
        """Wait for the end; return the exit code."""
        self._child.expect(pexpect.EOF)
        self._child.close()
        status: int | None = self._child.exitstatus
        assert status is not None, f"ended by signal {self._child.signalstatus}"
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._child.close(force=True)


def at_terminal(*words: str, cwd: Path) -> str:
    """Run a command of shoal at a wide terminal; return what that showed."""
    argv = (sys.executable, "-m", "shoal", *words)
    with Terminal(*argv, columns=200, cwd=cwd) as terminal:
        terminal.finish()
        return terminal.said


class _Log:
    """Keep what was read; pexpect wants a file."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data

    def flush(self) -> None:
        pass
