"""Send signals to a program that is ready for them, and check how it ends."""

import signal
import time
from pathlib import Path

import pytest

from tests.helpers.process import Finished, Program

__all__ = ["BOTH", "SOON", "ends", "until_caught"]

BOTH = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
SOON = 10.0  # seconds; usually milliseconds, but the machine may be busy
_PATIENCE = 20.0  # seconds
_PAUSE = 0.01  # seconds between checks
_CAUGHT = (1 << signal.SIGINT - 1) | (1 << signal.SIGTERM - 1)


def until_caught(program: Program) -> None:
    """Wait until a program handles SIGINT and SIGTERM, or has ended."""
    status = Path(f"/proc/{program.pid}/status")
    deadline = time.monotonic() + _PATIENCE
    while program.running:
        lines = status.read_text().splitlines()
        masks = [line.split()[1] for line in lines if line.startswith("SigCgt")]
        if all(int(mask, 16) & _CAUGHT == _CAUGHT for mask in masks):
            return
        assert time.monotonic() < deadline, "it does not handle the signals"
        time.sleep(_PAUSE)


def ends(program: Program, signum: int) -> Finished:
    """Send a signal; check that the program ends soon, with its code and message."""
    program.send(signum)
    ended = program.finish(SOON)
    assert ended.code == 128 + signum, ended.stderr
    word = "Interrupted" if signum == signal.SIGINT else "Terminated"
    assert word in ended.stderr
    return ended
