"""Limit what a server may send in response to one request of aiohttp.

aiohttp limits the headers of one response. But any number of interim responses may come
before it, each of which costs time and memory, and postpones the time limit between two
reads. And a library that reads responses whole, as those for object stores do, needs as
much memory as the server sends bytes.
"""

from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

__all__ = ["MAX_RESPONSE", "TooMuchDataError", "TooMuchHeaderError", "limited"]

MAX_INTERIM = 8  # interim responses (RFC 9110 section 15.2) before the final one
MAX_HEADER_SIZE = 64 * 1024  # bytes of the headers of all these together
MAX_RESPONSE = 20 << 20  # bytes, where responses are read whole; a chunk has 16 MiB


class TooMuchHeaderError(aiohttp.ClientError):
    """A server sent more headers or interim responses than it may."""


class TooMuchDataError(aiohttp.ClientError):
    """A server sent a longer response than it may."""


class LimitedHandler(ResponseHandler):
    """Close a connection whose server sends too much before a final response."""

    _interim = 0
    _header_size = 0

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a response whose header is complete; its body follows later."""
        message, _ = data
        self._header_size += sum(map(_length, message.raw_headers))
        self._interim += 1
        if self._interim > MAX_INTERIM + 1 or self._header_size > MAX_HEADER_SIZE:
            self._end(TooMuchHeaderError("too much before the response"))
            return
        if not 100 <= message.code < 200:
            self._interim = self._header_size = 0
        super().feed_data(data, size)

    def _end(self, error: aiohttp.ClientError) -> None:
        if self.transport is not None:
            self.transport.close()
        self.set_exception(error)


class WholeHandler(LimitedHandler):
    """Close a connection, too, whose server sends a very long response."""

    _size = 0  # bytes received since that with the last header

    def data_received(self, data: bytes) -> None:
        """Take bytes of a response."""
        self._size += len(data)
        super().data_received(data)  # a header in it begins to count again
        if self._size > MAX_RESPONSE:
            self._end(TooMuchDataError("a longer response than was requested"))

    def feed_data(self, data: Any, size: int = 0) -> None:
        """Take a response whose header is complete; its body follows later."""
        self._size = 0
        super().feed_data(data, size)


def limited(
    connector: aiohttp.BaseConnector, *, are_read_whole: bool = False
) -> aiohttp.BaseConnector:
    """Let all connections of a connector have these limits; return it.

    With `are_read_whole`, responses may have at most `MAX_RESPONSE` bytes. aiohttp has
    no public way to do so. Tests fail if this one ceases to work.
    """
    handler: type[ResponseHandler] = WholeHandler if are_read_whole else LimitedHandler
    connector._factory = partial(handler, loop=connector._loop)
    return connector


def _length(field: tuple[bytes, bytes]) -> int:
    name, value = field
    return len(name) + len(value)
