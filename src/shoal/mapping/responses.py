"""Read the HTTP responses of a router, and the XML in them; pure.

Routers answer with a length, in chunks, or by closing the connection (RFC 9112
section 6). Redirects are not followed.

The parser of XML is expat, as in Python's own library. A document type is refused, and
only one could declare entities, so none is expanded and nothing is loaded. Names lose
their prefixes, which routers use as they like.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.parsers import expat

from shoal.errors import ProtocolError

__all__ = [
    "MAX_RESPONSE",
    "Element",
    "HttpResponse",
    "parse_elements",
    "parse_response",
]

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


MAX_DEPTH = 32  # nested elements; the description of a router has about ten
MAX_ELEMENTS = 4096


class Element:
    """An element of a document: its name, its text, and the elements in it."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        """Without a prefix."""
        self.text = ""
        """Its own text, without that of the elements in it."""
        self.children: list[Element] = []

    def find_all(self, name: str) -> Iterator["Element"]:
        """Yield the elements of this name in this one, at any depth."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.find_all(name)

    def text_of(self, name: str) -> str:
        """Return the text of the first element of this name, or an empty text."""
        return next((each.text.strip() for each in self.find_all(name)), "")


class _Builder:
    """Make the tree, within the limits, as the parser reads the document."""

    def __init__(self) -> None:
        self.root = Element("")
        self._open = [self.root]
        self._count = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) > MAX_DEPTH:
            raise ProtocolError("XML with too many elements")
        element = Element(name.rpartition(":")[2])
        self._open[-1].children.append(element)
        self._open.append(element)

    def end(self, name: str) -> None:
        self._open.pop()

    def add_text(self, text: str) -> None:
        self._open[-1].text += text

    def refuse(self, *_: object) -> None:
        raise ProtocolError("XML with a document type")


def parse_elements(data: bytes) -> Element:
    """Return an element that contains the document; raises `ProtocolError`."""
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.add_text
    parser.StartDoctypeDeclHandler = builder.refuse
    try:
        # A text, not bytes: the document does not choose its encoding.
        parser.Parse(data.decode("utf-8", "replace"), True)
    except (expat.ExpatError, ValueError) as error:
        raise ProtocolError(f"something other than XML ({error})") from None
    return builder.root
