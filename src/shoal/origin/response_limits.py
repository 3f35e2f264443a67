"""Limit what an HTTP server may send before its final response.

aiohttp limits the headers of one response. But a server may send any number of interim
responses (status 1xx, RFC 9110 section 15.2) before the final one, each of which costs
time and memory, and each of which postpones the time limit between two reads.
"""

from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

__all__ = ["MAX_HEADER_SIZE", "MAX_INTERIM", "TooMuchHeaderError", "limit_responses"]

MAX_INTERIM = 8
"""Interim responses before the final one."""
MAX_HEADER_SIZE = 64 * 1024
"""Bytes of the headers of these and the final response together."""


class TooMuchHeaderError(aiohttp.ClientError):
    """A server sent more headers or interim responses than it may."""


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
            if self.transport is not None:
                self.transport.close()
            self.set_exception(TooMuchHeaderError("too much before the response"))
            return
        if not 100 <= message.code < 200:
            self._interim = self._header_size = 0
        super().feed_data(data, size)


def _length(field: tuple[bytes, bytes]) -> int:
    name, value = field
    return len(name) + len(value)


def limit_responses(connector: aiohttp.TCPConnector) -> aiohttp.TCPConnector:
    """Let all connections of a connector have these limits; return it.

    aiohttp has no public way to do so. A test fails if this one ceases to work.
    """
    handler: type[ResponseHandler] = LimitedHandler
    connector._factory = partial(handler, loop=connector._loop)
    return connector
