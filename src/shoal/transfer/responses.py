"""Write responses with chunks or blocks, as both kinds of share send them."""

from collections.abc import Iterable
from typing import TypeVar

from shoal.core.session.session import Session
from shoal.transport.connection import Connection

__all__ = ["write_responses"]

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
