"""Let bytes arrive at a session in pieces."""

from collections.abc import Iterator
from random import Random

from shoal.core.session.events import Event
from shoal.core.session.session import Session

__all__ = ["pieces", "receive"]


def receive(session: Session, data: bytes, pieces: Iterator[int]) -> list[Event]:
    """Let bytes arrive in pieces; return the events."""
    events: list[Event] = []
    while data:
        buffer = session.get_buffer()
        size = min(len(buffer), len(data), next(pieces))
        buffer[:size] = data[:size]
        events += session.buffer_updated(size)
        data = data[size:]
    return events


def pieces(seed: int, most: int) -> Iterator[int]:
    """Yield the lengths of pieces, which are short, long or mixed for a while."""
    rng = Random(seed)
    while True:
        yield rng.randint(1, rng.choice([1, 8, 2000, most]))
