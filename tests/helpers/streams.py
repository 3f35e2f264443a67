"""A stream of bytes from a peer, with the expected meaning of each part."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from shoal.core.session.session import Event, Session

__all__ = ["Stream", "feed"]

M = TypeVar("M")


@dataclass
class Stream(Generic[M]):
    """Bytes in transit with the events they mean; a part counts once it is complete."""

    _parts: list[tuple[bytes, M]] = field(default_factory=list)
    _taken: int = 0  # bytes of the first part that were delivered

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, data: bytes, meaning: M) -> None:
        """Append bytes with their meaning."""
        assert data
        self._parts.append((data, meaning))

    def take(self, most: int) -> tuple[bytes, list[M]]:
        """Deliver up to `most` bytes; return them and the meanings they complete."""
        data, whole = b"", []
        while self._parts and len(data) < most:
            part, meaning = self._parts[0]
            some = part[self._taken :][: most - len(data)]
            data += some
            self._taken += len(some)
            if self._taken == len(part):
                whole.append(meaning)
                del self._parts[0]
                self._taken = 0
        return data, whole


def feed(session: Session, data: bytes) -> Iterator[Event]:
    """Let a session receive `data`; yield its events, read by read."""
    while data:
        buffer = session.get_buffer()
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        yield from session.buffer_updated(size)
        data = data[size:]
