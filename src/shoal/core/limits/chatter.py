"""How much a peer may say beside chunks, and how long not to listen to more; pure.

A message costs something to act on, whatever it asks for; a million that ask for
nothing hold up everybody else who is served by the same thread. Nobody honest says
more than a few for each chunk that is exchanged. Who says more is not listened to for a
while after each read. It would only come back, so it is cut off late: when listening
less has not helped, since behind all that is unread nobody sees that it has hung up.
"""

from shoal.errors import ProtocolError

__all__ = ["Chatter"]

RATE = 1000.0  # messages per second beside those that chunks pay for
BURST = 4000.0  # messages at once
MAX_PAUSE = 10.0  # seconds; meanwhile it is not noticed when a peer hangs up
MAX_PAUSES = 2  # so long and in a row, until there is no point in another


class Chatter:
    """Count the messages of one peer that nothing came of."""

    __slots__ = ("_at", "_beside", "_debt", "_pauses")

    def __init__(self) -> None:
        self._debt = 0.0
        self._beside = 0
        self._at: float | None = None
        self._pauses = 0  # of `MAX_PAUSE`, in a row

    def add(self, messages: float) -> None:
        """Count what costs as much as so many messages."""
        self._debt += messages

    def pause(self, beside: int, now: float) -> float:
        """Return for how many seconds not to listen; 0 is to go on.

        `beside` is how many messages have come so far beside chunks, less the chunks
        that were given for them. Raises `ProtocolError` after `MAX_PAUSES`.
        """
        if self._at is not None:
            self._debt -= (now - self._at) * RATE
        self._at = now
        self._debt = max(0.0, max(0.0, self._debt) + beside - self._beside)
        self._beside = beside
        pause = min(MAX_PAUSE, max(0.0, (self._debt - BURST) / RATE))
        self._pauses = self._pauses + 1 if pause == MAX_PAUSE else 0
        if self._pauses > MAX_PAUSES:
            raise ProtocolError("messages without end that no chunk comes of")
        return pause
