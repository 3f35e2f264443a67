"""Wait until a program is ready for signals."""

import signal
import time
from pathlib import Path

from tests.helpers.process import Program

__all__ = ["until_caught"]

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
