"""Write responses with chunks, as both kinds of share send them."""

from collections.abc import Hashable
from typing import TypeVar

from shoal.core.session.session import Session
from shoal.core.wire.messages import response_header
from shoal.transport.connection import Connection

__all__ = ["write_chunks"]

S = TypeVar("S", bound=Session)

JOIN_BELOW = 64 * 1024  # bytes; larger chunks are not copied behind their header


def write_chunks(
    connection: Connection[S], chunks: list[tuple[Hashable, bytes]]
) -> None:
    """Write one response for each index and chunk, copying only small ones."""
    connection.on_chunks_sent(len(chunks))
    parts: list[bytes] = []
    for index, data in chunks:
        assert isinstance(index, int | str)
        parts.append(response_header(index, len(data)))
        if len(data) < JOIN_BELOW:
            parts.append(data)
        else:
            connection.writelines((b"".join(parts), data))
            parts.clear()
    if parts:
        connection.write(b"".join(parts))
