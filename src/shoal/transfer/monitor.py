"""Watch a download for its caller: progress, stalls, and when to stop waiting."""

import asyncio
from collections.abc import Callable
from typing import Any

from shoal.core.report.events import DownloadEvent, Progress, Stalled, Started
from shoal.core.report.rate import RateMeter
from shoal.core.report.stall import DownloadState, StallTimer
from shoal.errors import ShoalError
from shoal.transfer.download import Download

__all__ = ["Monitor"]


class Monitor:
    """Report the events of a download; it exists before the download does."""

    def __init__(
        self, timeout: float | None, on_event: Callable[[DownloadEvent], None]
    ) -> None:
        """Start to watch; `timeout` is the longest wait for a new chunk, in seconds."""
        self._clock = asyncio.get_running_loop().time
        self._stall_timer = StallTimer(timeout, self._clock())
        self._rate = RateMeter(self._clock())
        self._on_event = on_event

    def on_started(self, download: Download[Any]) -> None:
        """Report the sizes of a download that starts, and what it resumes with."""
        chunks, is_verified = download.chunks, download.verifier is not None
        self._rate = RateMeter(self._clock(), download.done)
        self._on_event(
            Started(
                chunks.size,
                chunks.chunk_size,
                chunks.count,
                len(download.have),
                is_verified,
            )
        )

    def on_verified(self) -> None:
        """Note that a chunk is verified and written."""
        self._stall_timer.on_chunk(self._clock())

    def report_progress(
        self, download: Download[Any], peers: int, uploaded: int = 0
    ) -> None:
        """Report how many bytes are here, and how many were `uploaded`."""
        done, size = download.done, download.chunks.size
        rate = self._rate.rate(self._clock(), done)
        self._on_event(Progress(done, size, rate, peers, uploaded))

    def check(self, outlook: DownloadState) -> ShoalError | None:
        """Report a stall when it is time; return the error to end with, if any."""
        now = self._clock()
        self._stall_timer.on_check(now)
        stall = self._stall_timer.stall_to_report(now, outlook)
        if stall is not None:
            waited, cause = self._stall_timer.waited(now), stall.cause.value
            self._on_event(Stalled(waited, stall.reason, cause))
        return self._stall_timer.reason_to_end(now, outlook)
