"""What one giver was asked for, for `Asking`, its owner."""

from collections import deque
from typing import ClassVar

from shoal.core.schedule.window import OriginWindow, RequestWindow

__all__ = ["Flow", "OriginFlow"]


class Flow:
    """Remember what one giver was asked for."""

    __slots__ = ("any_from", "any_keys", "gives_any", "is_full", "wasted", "window")
    is_origin: ClassVar[bool] = False

    def __init__(
        self, chunk_size: int, most: int, *, is_full: bool, gives_any: bool
    ) -> None:
        """Ask for nothing yet; it keeps at most `most` requests waiting."""
        self.window = RequestWindow(chunk_size, most)
        self.is_full = is_full
        self.gives_any = gives_any
        self.any_keys: deque[int] = deque()  # stand in the window for any chunk
        self.any_from = 0.0  # when it may be asked for any chunk again
        self.wasted = 0  # chunks of its choice that were there already


class OriginFlow(Flow):
    """Remember what an origin was asked for."""

    __slots__ = ()
    is_origin = True

    def __init__(self, chunk_size: int) -> None:
        """Ask for nothing yet."""
        super().__init__(chunk_size, 0, is_full=False, gives_any=False)
        self.window = OriginWindow(chunk_size)
