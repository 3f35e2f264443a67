"""Keep the requests of one peer that were not answered yet; pure.

Which chunk to send for a request for any chunk is decided as late as possible, because
the peer may have received more chunks by then.
"""

from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from shoal.core.wire.sealed_messages import BlockRequest, Reason

__all__ = ["MAX_QUEUED_REQUESTS", "BlocksToSend", "RequestQueue", "ToSend"]

MAX_QUEUED_REQUESTS = 64  # requests of one peer that are kept; more are refused


class BlocksToSend(Struct, frozen=True):
    """A request for blocks that can be answered."""

    request: BlockRequest
    hashes: bytes | None
    """The hashes of all blocks of the chunk, if they were requested."""


ToSend: TypeAlias = int | BlocksToSend | None
"""A whole chunk, blocks of one, or None for any chunk."""


class RequestQueue:
    """Keep the requests of one peer in order."""

    def __init__(self) -> None:
        """Start empty."""
        self.requests: list[ToSend] = []
        """What was requested."""
        self.pending: dict[int, BlockRequest] = {}
        """Requests for blocks whose hashes are being computed, by their number."""

    @property
    def lone(self) -> int | BlocksToSend | None:
        """Return what was requested if that is a single request, not for any chunk."""
        return self.requests[0] if len(self.requests) == 1 else None

    def add(self, index: int | None, has: Callable[[int], bool]) -> str | None:
        """Add a request, or return the `Reason` to refuse it.

        None requests any chunk; `has` returns True if this node has a chunk.
        """
        reason = self.refusal(index, has)
        if reason is None:
            self.requests.append(index)
        return reason

    def refusal(self, index: int | None, has: Callable[[int], bool]) -> str | None:
        """Return the `Reason` to refuse a request for a chunk or blocks, or None."""
        if len(self.requests) + len(self.pending) >= MAX_QUEUED_REQUESTS:
            return Reason.BUSY
        if index is not None and not has(index):
            return Reason.MISSING
        return None

    def cancel(self, index: int) -> None:
        """Remove a request for a chunk, if it is still in the queue."""
        if index in self.requests:
            self.requests.remove(index)

    def cancel_blocks(self, read: int) -> bool:
        """Remove a request for blocks; return True if it was not answered yet."""
        if self.pending.pop(read, None) is not None:
            return True
        for place, each in enumerate(self.requests):
            if isinstance(each, BlocksToSend) and each.request.read == read:
                del self.requests[place]
                return True
        return False

    def take(self, choose: Callable[[], int | None]) -> tuple[ToSend, bool]:
        """Remove the oldest request; return what to send, and whether it was chosen.

        `choose` chooses a chunk for a request for any; None if there is none. A chunk
        that was also requested by its index answers that request.
        """
        wanted = self.requests.pop(0)
        if wanted is not None:
            return wanted, False
        chosen = choose()
        if chosen is None or chosen not in self.requests:
            return chosen, True
        # Otherwise it would be sent twice ("Requests for any chunk").
        self.requests.remove(chosen)
        self.requests.insert(0, None)
        return chosen, False
