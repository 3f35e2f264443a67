"""Watch a download for its caller: progress, stalls, and when to stop waiting."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from shoal.core.report.events import (
    DownloadEvent,
    Preparing,
    Progress,
    Stalled,
    Started,
)
from shoal.core.report.rate import RateMeter
from shoal.core.report.stall import DownloadState
from shoal.core.report.stall_timer import StallTimer
from shoal.errors import ShoalError

if TYPE_CHECKING:  # it is never created here
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
        self._size: int | None = None  # bytes of the chosen files; None for all
        self._most = 0  # bytes of their chunks
        self._prepared: Preparing | None = None

    def report_preparing(self, state: Preparing) -> None:
        """Report what is done before the download starts, if that has changed."""
        if state != self._prepared:
            self._prepared = state
            self._on_event(state)

    def on_started(
        self,
        download: "Download[Any]",
        name: str | None = None,
        size: int | None = None,
        wanted: Iterable[int] | None = None,
    ) -> None:
        """Report the sizes of a download that starts, and what it resumes with.

        `name` is that of the share. If only some files were chosen, `size` is that of
        these files in bytes, and `wanted` are their chunks.
        """
        chunks, is_verified = download.chunks, download.verifier is not None
        self._size = size
        self._most = chunks.size if wanted is None else sum(map(chunks.length, wanted))
        done, total = self._scaled(download)
        self._rate = RateMeter(self._clock(), done)
        self._on_event(
            Started(
                total,
                chunks.chunk_size,
                chunks.count,
                len(download.have),
                is_verified,
                name,
                done,
            )
        )

    def _scaled(self, download: "Download[Any]") -> tuple[int, int]:
        """Return how many bytes of the chosen files are here, and their size."""
        if self._size is None:
            return download.done, download.chunks.size
        done = min(download.done, self._most)
        # A chunk may have bytes of files that were not chosen, too.
        return self._size * done // max(self._most, 1), self._size

    def on_verified(self) -> None:
        """Note that a chunk is verified and written."""
        self._stall_timer.on_chunk(self._clock())

    def report_progress(
        self,
        download: "Download[Any]",
        peers: int,
        uploaded: int = 0,
        *,
        sources: int,
    ) -> None:
        """Report how many bytes are here, and how many were `uploaded`.

        `sources` is the number of peers and origins that sent verified chunks.
        """
        done, size = self._scaled(download)
        rate = self._rate.rate(self._clock(), done)
        self._on_event(Progress(done, size, rate, peers, uploaded, sources))

    def check(self, outlook: DownloadState) -> ShoalError | None:
        """Report a stall when it is time; return the error to end with, if any."""
        now = self._clock()
        self._stall_timer.on_check(now)
        stall = self._stall_timer.stall_to_report(now, outlook)
        if stall is not None:
            waited, cause = self._stall_timer.waited(now), stall.cause.value
            self._on_event(Stalled(waited, stall.reason, cause))
        return self._stall_timer.reason_to_end(now, outlook)
