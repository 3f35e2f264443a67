"""A program that a test starts, reads line by line and always ends.

Threads read the output as it arrives, so a test waits for a line without polling, and a
full pipe never blocks the program.
"""

import re
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import IO, Any, NamedTuple, Self

from tests.helpers.netns import Namespace

__all__ = ["Finished", "Program", "capture"]

_PATIENCE = 20.0
_TRACEBACK = "Traceback (most recent call last)"


class Finished(NamedTuple):
    """The exit code and the output of a program that ended."""

    code: int
    stdout: bytes
    stderr: str


class Program:
    """A program, in a namespace or outside, that ends with the `with` block.

    If it prints a Python traceback, the end of the block fails the test.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        namespace: Namespace | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        has_input: bool = False,
    ) -> None:
        self.name = " ".join(Path(word).name for word in argv[:3])
        self._changed = threading.Condition()
        self._lines: list[tuple[str, str]] = []
        self._raw: dict[str, list[bytes]] = {"out": [], "err": []}
        self._open = 2
        self._process = subprocess.Popen(
            namespace.command(argv) if namespace else list(argv),
            stdin=subprocess.PIPE if has_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else dict(env),
            cwd=cwd,
        )
        pipes = {"out": self._process.stdout, "err": self._process.stderr}
        self._readers = [
            threading.Thread(target=self._read, args=(which, pipe), daemon=True)
            for which, pipe in pipes.items()
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, which: str, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                with self._changed:
                    self._raw[which].append(line)
                    text = line.decode(errors="replace").rstrip("\n")
                    self._lines.append((which, text))
                    self._changed.notify_all()
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    @property
    def pid(self) -> int:
        """Return the process id of the program."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Return True if the program has not ended."""
        return self._process.poll() is None

    @property
    def stderr(self) -> str:
        """Return the standard error output so far."""
        with self._changed:
            return b"".join(self._raw["err"]).decode(errors="replace")

    def find(self, pattern: str) -> list[re.Match[str]]:
        """Return the match of every line so far that contains `pattern`."""
        with self._changed:
            lines = [line for _, line in self._lines]
        return [match for line in lines if (match := re.search(pattern, line))]

    def wait_line(
        self,
        pattern: str,
        timeout: float = _PATIENCE,
        *,
        count: int = 1,
        stream: str = "",
    ) -> re.Match[str]:
        """Wait until `count` lines match, old ones included; return the last match.

        `stream` may be "out" or "err" to search only one stream. Fails at once if the
        program ends before that.
        """
        deadline = time.monotonic() + timeout
        seen = 0
        with self._changed:
            while True:
                for which, line in self._lines[seen:]:
                    seen += 1
                    match = re.search(pattern, line) if stream in which else None
                    count -= match is not None
                    if match and count == 0:
                        return match
                if self._open == 0:
                    raise AssertionError(self._story(f"ended without {pattern!r}"))
                if not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(self._story(f"no {pattern!r} in {timeout} s"))

    def finish(self, timeout: float = _PATIENCE) -> Finished:
        """Wait until the program ends; return exit code, standard output and error.

        Kills it after `timeout` seconds, so that no `with` block is necessary.
        """
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            story = self._story(f"did not end in {timeout} s")
            raise AssertionError(story) from None
        self.end_input()
        self._join()
        self._check()
        return Finished(code, b"".join(self._raw["out"]), self.stderr)

    def write_line(self, line: str) -> None:
        """Write a line to standard input; requires `has_input`."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def end_input(self) -> None:
        """Close standard input, if it is a pipe."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def send(self, signal: int) -> None:
        """Send a signal to the program."""
        self._process.send_signal(signal)

    def kill(self) -> None:
        """Kill the program if it runs, and wait until it has ended."""
        if self.running:
            self._process.kill()
        self._process.wait(10)
        self.end_input()
        self._join()

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(10)

    def _check(self) -> None:
        assert _TRACEBACK not in self.stderr, self._story("printed a traceback")

    def _story(self, what: str) -> str:
        said = [f"{which}: {line}" for which, line in self._lines[-40:]]
        return "\n".join([f"{self.name}: {what}; its output:", *said])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.kill()
        if error is None:
            self._check()


def capture(argv: Sequence[str | Path], **options: Any) -> CompletedProcess[str]:
    """Run a short program to its end and capture what it prints."""
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, **options)
