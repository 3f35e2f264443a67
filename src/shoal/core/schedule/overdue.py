"""When origins are asked for what peers have, too: once nothing comes of it; pure."""

__all__ = ["LATE_TIME", "Overdue"]

LATE_TIME = 3.0  # seconds without a chunk
LATE_DELAYS = 3  # the same in what a chunk that is on its way takes, if that is longer


class Overdue:
    """Watch the time since a chunk came that was needed."""

    def __init__(self) -> None:
        self.is_late = False
        """Whether nothing came for long, and no peer has given anything since."""
        self._last: float | None = None  # None: nothing was waited for

    def on_chunk(self, now: float, *, is_from_peer: bool) -> None:
        """Note a chunk that was needed."""
        self._last = now
        self.is_late &= not is_from_peer

    def on_idle(self) -> None:
        """Note that nothing was waited for until now."""
        self._last = None

    def look(self, now: float, longest: float) -> bool:
        """Say whether it is late; `longest` is what chunks on their way take so far."""
        if self._last is None:
            self._last = now
        if now - self._last >= max(LATE_TIME, LATE_DELAYS * longest):
            self.is_late = True
        return self.is_late
