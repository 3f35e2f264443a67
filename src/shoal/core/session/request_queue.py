"""What one taker of a sealed share asked for and was not sent yet.

What "any chunk" is, is decided as late as can be: by then the taker may have got more.
"""

from collections.abc import Callable

from shoal.core.wire.sealed_messages import Reason

__all__ = ["MAX_QUEUED_REQUESTS", "RequestQueue"]

MAX_QUEUED_REQUESTS = 64  # requests of one taker that are kept; more are refused


class RequestQueue:
    """Keep the requests of one taker in their order."""

    __slots__ = ("_wanted",)

    def __init__(self) -> None:
        self._wanted: list[int | None] = []

    def __len__(self) -> int:
        return len(self._wanted)

    @property
    def lone(self) -> int | None:
        """Return the chunk that is asked for if there is one request, by its index."""
        return self._wanted[0] if len(self._wanted) == 1 else None

    def add(self, index: int | None, has: Callable[[int], bool]) -> str | None:
        """Keep a request, or return why it is refused; None asks for any chunk."""
        if len(self._wanted) >= MAX_QUEUED_REQUESTS:
            return Reason.BUSY
        if index is not None and not has(index):
            return Reason.MISSING
        self._wanted.append(index)
        return None

    def cancel(self, index: int) -> None:
        """Forget a request, if it is still kept."""
        if index in self._wanted:
            self._wanted.remove(index)

    def take(self, choose: Callable[[], int | None]) -> tuple[int | None, bool]:
        """Take out the oldest request and return its chunk and if `choose` chose it.

        The chunk is None when any would have done and there is none.
        """
        index = self._wanted.pop(0)
        return (choose(), True) if index is None else (index, False)
