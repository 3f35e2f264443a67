"""Watch a download for whoever waits for it: progress, stalls, and when to give up."""

from collections.abc import Callable

from shoal.core.manifest.chunks import Chunks
from shoal.core.report.events import DownloadEvent, Progress, Stalled, Started
from shoal.core.report.outlook import Outlook
from shoal.core.report.patience import Patience
from shoal.core.report.rate import RateMeter
from shoal.errors import ShoalError

__all__ = ["Vigil"]


class Vigil:
    """Turn what happens to a download into events."""

    def __init__(
        self,
        timeout: float | None,
        now: float,
        on_event: Callable[[DownloadEvent], None],
    ) -> None:
        """Begin to watch; `timeout` is the longest wait for a new chunk, in seconds."""
        self._patience = Patience(timeout, now)
        self._rate = RateMeter(now)
        self._on_event = on_event

    def begin(
        self, chunks: Chunks, resumed: int, done: int, now: float, *, verified: bool
    ) -> None:
        """Tell what is about to be fetched.

        `resumed` chunks of it are there already, `done` bytes; `verified` says
        whether there is something to verify them against.
        """
        self._rate = RateMeter(now, done)
        size, chunk_size, count = chunks.size, chunks.chunk_size, chunks.count
        self._on_event(Started(size, chunk_size, count, resumed, verified))

    def on_news(self, now: float) -> None:
        """Note a chunk that is verified and written."""
        self._patience.on_news(now)

    def tell_progress(
        self, done: int, size: int, peers: int, now: float, uploaded: int = 0
    ) -> None:
        """Tell how much of how many bytes is there, and how much was given."""
        rate = self._rate.rate(now, done)
        self._on_event(Progress(done, size, rate, peers, uploaded))

    def look(self, outlook: Outlook, now: float) -> ShoalError | None:
        """Tell a stall when it is time to; return the error to end with, if any."""
        stall = self._patience.stall_to_tell(now, outlook)
        if stall is not None:
            waited, cause = self._patience.waited(now), stall.cause.value
            self._on_event(Stalled(waited, stall.reason, cause))
        return self._patience.reason_to_end(now, outlook)
