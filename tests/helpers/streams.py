"""Streams of bytes from a peer, for machines that compare a session with a model."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from shoal.core.session.events import Event
from shoal.core.session.session import Session

__all__ = ["ALL", "MOST", "Stream", "explore", "feed"]

ALL = 1 << 20
MOST = st.sampled_from([0, ALL, ALL, ALL]) | st.integers(1, 40)  # bytes delivered

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


def explore(
    machine: type[RuleBasedStateMachine], examples: int, **options: Any
) -> None:
    """Look for a conversation that differs from the model."""
    options |= {"stateful_step_count": 40, "deadline": None}
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, **options)
    )
