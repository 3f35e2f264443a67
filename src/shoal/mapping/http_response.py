"""Read one HTTP response of a router, from the bytes received so far; pure.

Routers answer with a length, in chunks, or by closing the connection (RFC 9112
section 6). Redirects are not followed.
"""

import re
from typing import NamedTuple

from shoal.errors import ProtocolError

__all__ = ["MAX_RESPONSE", "HttpResponse", "parse_response"]

MAX_RESPONSE = 128 * 1024  # bytes; descriptions of routers have up to 20 KiB
MAX_HEAD = 8192  # bytes of the status line and the headers

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")
_SIZE = re.compile(rb"[0-9]{1,7}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,6})[ \t]*(?:;[^\r\n]*)?\r\n")


class HttpResponse(NamedTuple):
    """A whole response."""

    status: int
    body: bytes


def parse_response(data: bytes, *, is_ended: bool) -> HttpResponse | None:
    """Return the response in `data`, or None if more of it has to arrive.

    `is_ended` tells that the router has closed the connection. Raises `ProtocolError`
    if it is no response, too large, or cut short.
    """
    head, gap, body = data.partition(b"\r\n\r\n")
    if len(data) > MAX_RESPONSE or len(head) > MAX_HEAD:
        raise ProtocolError("a response that is too large")
    answer = _read_body(head, body, is_ended=is_ended) if gap else None
    if answer is None and is_ended:
        raise ProtocolError("a response that is cut short")
    return answer


def _read_body(head: bytes, body: bytes, *, is_ended: bool) -> HttpResponse | None:
    first, *lines = head.split(b"\r\n")
    status = _STATUS.match(first)
    if status is None:
        raise ProtocolError("something other than an HTTP response")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in lines)
    }
    code, size = int(status[1]), headers.get(b"content-length")
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        whole = _join_chunks(body)
        return None if whole is None else HttpResponse(code, whole)
    if size is None:
        return HttpResponse(code, body) if is_ended else None
    if not _SIZE.fullmatch(size) or int(size) > MAX_RESPONSE:
        raise ProtocolError("a response with an impossible length")
    return HttpResponse(code, body[: int(size)]) if len(body) >= int(size) else None


def _join_chunks(body: bytes) -> bytes | None:
    """Return the content of a body in chunks (RFC 9112 section 7.1), None if cut."""
    whole = bytearray()
    place = 0
    while (match := _CHUNK.match(body, place)) is not None:
        size, place = int(match[1], 16), match.end()
        if not size:
            return bytes(whole)
        if body[place + size : place + size + 2] != b"\r\n":
            break
        whole += body[place : place + size]
        place += size + 2
    return None
