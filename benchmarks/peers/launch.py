"""Start the programs to compare inside the namespace of the workload.

They run with their own defaults, unless a comment explains the change. Closing the
stack that a program was started on ends it.
"""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.helpers.netns import Namespace
from tests.helpers.process import Program

from benchmarks.measure import clean_environment

__all__ = ["missing_programs", "own_argv", "start", "wait_listening"]


def missing_programs(*names: str) -> str | None:
    """Return which of these programs are missing, as text; None if none is."""
    missing = [name for name in names if shutil.which(name) is None]
    return f"no {', no '.join(missing)} on this machine" if missing else None


def own_argv(name: str, *args: object) -> list[str]:
    """Return the command line of a module of `benchmarks.programs`."""
    return [sys.executable, "-m", f"benchmarks.programs.{name}", *map(str, args)]


def start(
    stack: ExitStack,
    namespace: Namespace,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Program:
    """Start a program in `clean_environment` with the additions in `env`."""
    env = {**clean_environment(), **(env or {})}
    return stack.enter_context(Program(argv, namespace=namespace, env=env, cwd=cwd))


def wait_listening(namespace: Namespace, port: int, timeout: float = 20.0) -> None:
    """Wait until a process listens on a TCP port inside the namespace."""
    deadline = time.monotonic() + timeout
    while not namespace.run("ss", "-Hltn", f"sport = :{port}").strip():
        assert time.monotonic() < deadline, f"no process listens on port {port}"
        time.sleep(0.02)
