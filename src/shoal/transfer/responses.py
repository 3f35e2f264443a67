"""Write responses with chunks, as both kinds of share send them."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from shoal.core.session.session import Session
from shoal.transport.connection import Connection

__all__ = ["write_chunks"]

S = TypeVar("S", bound=Session)

JOIN_BELOW = 64 * 1024  # bytes; larger chunks are not copied behind their header


def write_chunks(
    connection: Connection[S],
    chunks: list[tuple[Hashable, bytes]],
    header: Callable[[Any, int], bytes],
) -> None:
    """Write one response for each index and chunk, copying only small ones.

    `header` returns what precedes the data of a chunk with an index and a length.
    """
    connection.on_chunks_sent(len(chunks))
    parts: list[bytes] = []
    for index, data in chunks:
        parts.append(header(index, len(data)))
        if len(data) < JOIN_BELOW:
            parts.append(data)
        else:
            connection.writelines((b"".join(parts), data))
            parts.clear()
    if parts:
        connection.write(b"".join(parts))
