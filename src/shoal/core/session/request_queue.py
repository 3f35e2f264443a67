"""Keep the requests of one peer that were not answered yet; pure.

Which chunk to send for a request for any chunk is decided as late as possible, because
the peer may have received more chunks by then.
"""

from collections.abc import Callable

from shoal.core.wire.sealed_messages import Reason

__all__ = ["MAX_QUEUED_REQUESTS", "RequestQueue"]

MAX_QUEUED_REQUESTS = 64  # requests of one peer that are kept; more are refused


class RequestQueue:
    """Keep the requests of one peer in order."""

    def __init__(self) -> None:
        """Start empty."""
        self.requests: list[int | None] = []
        """The requested chunks; None for any."""

    @property
    def lone(self) -> int | None:
        """Return the requested chunk if there is one request, by its index."""
        return self.requests[0] if len(self.requests) == 1 else None

    def add(self, index: int | None, has: Callable[[int], bool]) -> str | None:
        """Add a request, or return the `Reason` to refuse it.

        None requests any chunk; `has` returns True if this node has a chunk.
        """
        if len(self.requests) >= MAX_QUEUED_REQUESTS:
            return Reason.BUSY
        if index is not None and not has(index):
            return Reason.MISSING
        self.requests.append(index)
        return None

    def cancel(self, index: int) -> None:
        """Remove a request, if it is still in the queue."""
        if index in self.requests:
            self.requests.remove(index)

    def take(self, choose: Callable[[], int | None]) -> tuple[int | None, bool]:
        """Remove the oldest request; return its chunk, and whether `choose` chose it.

        The chunk is None if the request was for any chunk and there is none.
        """
        index = self.requests.pop(0)
        return (choose(), True) if index is None else (index, False)
