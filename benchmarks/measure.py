"""Run a program once and measure its time, CPU time and memory.

The CPU time of a client comes from `os.wait4`, that of a server, which keeps running,
from /proc. Memory is sampled from /proc, because the maximum that `wait4` reports
includes the memory of the process that started the program.
"""

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Self

from tests.helpers.netns import Namespace

__all__ = [
    "MemoryWatch",
    "Outcome",
    "clean_environment",
    "cpu_seconds",
    "peak_memory",
    "run_client",
]

PERIOD = 0.02  # seconds between two samples of the memory
TIME_LIMIT = 300.0  # seconds after which a client is killed
_TICK = os.sysconf("SC_CLK_TCK")


class MemoryWatch:
    """Sample the resident memory of a running process; a context manager."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        """The maximum since the process started, in bytes."""
        self._resident: list[int] = []
        self._path = f"/proc/{pid}/status"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    @property
    def drift(self) -> int:
        """Return the range of the samples after the first quarter, in bytes."""
        late = self._resident[len(self._resident) // 4 :]
        return max(late) - min(late) if late else 0

    def _sample(self) -> None:
        while not self._ended.is_set():
            found = _memory(self._path)
            if found is None:
                return
            self._resident.append(found[0])
            self.peak = max(self.peak, found[1])
            self._ended.wait(PERIOD)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def _memory(path: str) -> tuple[int, int] | None:
    """Return the current and the maximum bytes; None if the process has ended."""
    fields: dict[str, int] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith(("VmRSS:", "VmHWM:")):
                    fields[line[:5]] = int(line.split()[1]) * 1024
    except OSError:
        return None
    return (fields["VmRSS"], fields["VmHWM"]) if len(fields) == 2 else None


def clean_environment() -> dict[str, str]:
    """Return the environment without the variables that change how programs run.

    These are the variables of Node and Python (one of which keeps Python from storing
    byte code, so that it compiles shoal at each start) and all SHOAL_* variables except
    the choice of the event loop.
    """
    changing = ("SHOAL_", "PYTHON", "NODE_")
    kept = ("SHOAL_UVLOOP",)  # as scripts/bench sets it
    return {
        name: value
        for name, value in os.environ.items()
        if name in kept or not name.startswith(changing)
    }


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a running process has used, in seconds.

    It includes all threads, and the children that have ended.
    """
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICK


def peak_memory(pid: int) -> int:
    """Return the maximum memory of a running process so far, in bytes."""
    found = _memory(f"/proc/{pid}/status")
    return found[1] if found is not None else 0


@dataclass(frozen=True)
class Outcome:
    """The measurements of one run of a client, in seconds from its start."""

    wall: float
    first_byte: float
    """The first byte of standard output; the end if there was no output."""
    cpu: float
    memory: MemoryWatch
    stdout: bytes

    @property
    def figures(self) -> dict[str, float]:
        """Return what a module of `benchmarks.programs` prints, as JSON."""
        figures: dict[str, float] = json.loads(self.stdout)
        return figures


def run_client(
    argv: Sequence[str],
    *,
    namespace: Namespace,
) -> Outcome:
    """Run a program to its end; raise `AssertionError` if it fails."""
    with tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(
            namespace.command(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=clean_environment(),
        )
        limit = threading.Timer(TIME_LIMIT, process.kill)
        limit.start()
        try:
            with MemoryWatch(process.pid) as memory:
                assert process.stdout is not None
                stdout, first_byte = _read(process.stdout)
                _, status, used = os.wait4(process.pid, 0)
                end = time.perf_counter()
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            limit.cancel()
            if process.returncode is None:
                process.kill()
                process.wait()
        errors.seek(0)
        said = errors.read().decode(errors="replace")[-2000:]
        assert process.returncode == 0, f"{argv}: {process.returncode}\n{said}"
    return Outcome(
        wall=end - begin,
        first_byte=(first_byte or end) - begin,
        cpu=used.ru_utime + used.ru_stime,
        memory=memory,
        stdout=stdout,
    )


def _read(pipe: IO[bytes]) -> tuple[bytes, float]:
    """Return the bytes up to the end, and the time of the first of them."""
    with pipe:
        first = pipe.read(1)
        at = time.perf_counter() if first else 0.0
        return first + pipe.read(), at
