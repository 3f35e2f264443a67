"""Write responses with chunks or blocks, as both kinds of share send them."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from shoal.core.session.session import Session
from shoal.storage.store import Span
from shoal.transport.connection import Connection
from shoal.transport.making import Data

__all__ = ["make_parts", "write_responses"]

S = TypeVar("S", bound=Session)

JOIN_BELOW = 64 * 1024  # bytes; larger chunks are not copied behind their header


def write_responses(
    connection: Connection[S], responses: Iterable[tuple[bytes, bytes]]
) -> None:
    """Write responses, each with its header and its data; copy only small data."""
    parts: list[bytes] = []
    number = 0
    for header, data in responses:
        number += 1
        parts.append(header)
        if len(data) < JOIN_BELOW:
            parts.append(data)
        else:
            connection.writelines((b"".join(parts), data))
            parts.clear()
    connection.on_chunks_sent(number)
    if parts:
        connection.write(b"".join(parts))


def make_parts(
    requests: Sequence[tuple[int | Span, Hashable]],
    read: Callable[[int | Span], bytes | memoryview | Exception],
    length: Callable[[int | Span], int],
    header: Callable[[Hashable, int], bytes],
    part: Callable[[], int],
) -> Iterator[tuple[list[Data], int | Exception | None]]:
    """Read responses part by part; runs in a thread.

    Yields each part of at most `part()` bytes of data, with the size of the chunk if it
    is the last one of it. A chunk that cannot be read is nothing, with the error. If
    that is so in its middle, the error is raised: the connection has to end.
    """
    for wanted, note in requests:
        size, done = length(wanted), 0
        while not done or done < size:
            end = min(size, done + part())
            whole = not done and end == size
            data = read(wanted if whole else _part_of(wanted, done, end))
            if isinstance(data, Exception):
                if done:
                    raise data
                yield [], data
                break
            parts: list[Data] = [data] if done else [header(note, size), data]
            del data  # the caller clears the parts that it has used
            done = end
            yield parts, size if done == size else None


def _part_of(wanted: int | Span, first: int, end: int) -> Span:
    if isinstance(wanted, Span):
        return Span(wanted.index, wanted.first + first, wanted.first + end)
    return Span(wanted, first, end)
