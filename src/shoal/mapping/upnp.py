"""The requests to a router that speaks UPnP (UDA 1.1, IGD 1 and 2); pure.

A search by SSDP finds the description of the router, the description names the URL of a
service, and requests to that (SOAP) tell the router's address and map ports. Every URL
has to be on the router itself: what it says cannot make us connect to another host.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urljoin

from shoal.errors import ProtocolError
from shoal.mapping.responses import Element, parse_elements

__all__ = [
    "SSDP_GROUP",
    "SSDP_PORT",
    "Service",
    "Url",
    "find_services",
    "http_get",
    "parse_location",
    "parse_url",
    "read_result",
    "search_requests",
    "soap_request",
]

SSDP_GROUP, SSDP_PORT = "239.255.255.250", 1900  # UDA 1.1 section 1.3.2
MAX_DATAGRAM = 2048  # bytes of an answer to a search
MAX_SERVICES = 4  # of one router; most have one or two

_CLOSE = "CONNECTION: close"
_URL = re.compile(r"http://([0-9.]{7,15})(?::([0-9]{1,5}))?(/[!-~]*)?", re.I)
_LOCATION = re.compile(rb"^location:[ \t]*([!-~]+)[ \t]*\r?$", re.I | re.M)
_SEARCHED = tuple(
    f"urn:schemas-upnp-org:device:InternetGatewayDevice:{version}" for version in (1, 2)
)
_SERVICES = tuple(
    f"urn:schemas-upnp-org:service:{name}"
    # The preferred one first: IGD 2 chooses another port if the wanted one is taken.
    for name in ("WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1")
)


class Url(NamedTuple):
    """An HTTP URL on the router."""

    host: str
    """Dotted IPv4."""
    port: int
    path: str


class Service(NamedTuple):
    """A service of the router that maps ports."""

    kind: str
    """Its type, a URN."""
    url: Url
    """Where requests to it are sent."""

    @property
    def chooses_port(self) -> bool:
        """Return True if it can choose the port itself (AddAnyPortMapping, IGD 2)."""
        return self.kind.endswith("WANIPConnection:2")


def search_requests() -> Iterator[bytes]:
    """Yield the searches for a router (UDA 1.1 section 1.3.2)."""
    for target in _SEARCHED:
        lines = (
            "M-SEARCH * HTTP/1.1",
            f"HOST: {SSDP_GROUP}:{SSDP_PORT}",
            'MAN: "ssdp:discover"',
            "MX: 1",
            f"ST: {target}",
        )
        yield _lines(lines)


def parse_location(data: bytes, router: str) -> Url:
    """Return where an answer to a search says that the description is.

    Raises `ProtocolError` if it is no answer, or the URL is not on `router`.
    """
    head = data[:MAX_DATAGRAM]
    found = _LOCATION.search(head)
    if not head.startswith(b"HTTP/1.1 200") or found is None:
        raise ProtocolError("no answer to a search")
    return parse_url(found[1].decode("ascii"), router)


def parse_url(text: str, router: str) -> Url:
    """Return a URL on `router`; raises `ProtocolError` for any other."""
    match = _URL.fullmatch(text)
    if match is None or match[1] != router or not 1 <= int(match[2] or 80) <= 65535:
        raise ProtocolError("a URL that is not on the router itself")
    return Url(match[1], int(match[2] or 80), match[3] or "/")


def find_services(description: bytes, base: Url) -> list[Service]:
    """Return the services in a description that map ports, the preferred one first.

    `base` is where it was loaded from. Services with another host in their URL are left
    out. Raises `ProtocolError` if the description is invalid.
    """
    document = parse_elements(description)
    origin = document.text_of("URLBase") or f"http://{base.host}:{base.port}{base.path}"
    found = []
    for service in document.find_all("service"):
        kind = service.text_of("serviceType")
        if kind in _SERVICES:
            try:
                text = urljoin(origin, service.text_of("controlURL"))
                found.append(Service(kind, parse_url(text, base.host)))
            except (ValueError, ProtocolError):
                continue
    found.sort(key=lambda service: _SERVICES.index(service.kind))
    return found[:MAX_SERVICES]


def http_get(url: Url) -> bytes:
    """Return the request for a description."""
    return _lines(
        (f"GET {url.path} HTTP/1.1", f"HOST: {url.host}:{url.port}", _CLOSE),
    )


def soap_request(service: Service, action: str, fields: Mapping[str, object]) -> bytes:
    """Return the request for an action of a service (UDA 1.1 section 3.2.1).

    `fields` are its arguments in their order; their values need no escaping.
    """
    listed = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    body = (
        '<?xml version="1.0"?>\r\n<s:Envelope '
        'xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{action} xmlns:u="{service.kind}">{listed}</u:{action}>'
        "</s:Body></s:Envelope>\r\n"
    ).encode()
    url = service.url
    lines = (
        f"POST {url.path} HTTP/1.1",
        f"HOST: {url.host}:{url.port}",
        f"CONTENT-LENGTH: {len(body)}",
        'CONTENT-TYPE: text/xml; charset="utf-8"',
        f'SOAPACTION: "{service.kind}#{action}"',
        _CLOSE,
    )
    return _lines(lines) + body


def read_result(status: int, body: bytes) -> tuple[Element, int]:
    """Return the result of an action, and the code of its error, 0 for none.

    Raises `ProtocolError` if it is neither a result nor an error.
    """
    document = parse_elements(body)
    if status == 200:
        return document, 0
    code = document.text_of("errorCode")
    if not re.fullmatch(r"[0-9]{1,4}", code):
        raise ProtocolError(f"status {status} without an error of UPnP")
    return document, int(code)


def _lines(lines: tuple[str, ...]) -> bytes:
    return "\r\n".join((*lines, "", "")).encode("ascii")
