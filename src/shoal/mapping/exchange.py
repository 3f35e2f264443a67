"""Send requests to a router and wait for its answers, for a limited time each.

Sockets are bound to our address on the router's network. Only what comes from the
router's own address is read.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from shoal.errors import ProtocolError, RouterError
from shoal.mapping.responses import HttpResponse, parse_response
from shoal.mapping.upnp import Url
from shoal.net.gateway import Gateway
from shoal.net.socket_names import host_of

__all__ = ["ask", "request_http", "search"]

T = TypeVar("T")

# Seconds to wait after each packet, as RFC 6886 section 3.1 begins.
RESEND = (0.25, 0.5, 1.0, 2.0)
SEARCH_RESEND = (0.5, 2.0)  # the same for a search; routers answer within its MX of 1 s
HTTP_TIME = 3.0  # seconds for a whole response
READ_SIZE = 16 * 1024  # bytes

_SILENT = "it does not answer"


class _Answers(asyncio.DatagramProtocol, Generic[T]):
    """Wait for the first datagram from the router that can be read."""

    def __init__(self, router: str, read: Callable[[bytes], T]) -> None:
        self.first: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._router = router
        self._read = read

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Keep an answer of the router."""
        if host_of(addr) == self._router and not self.first.done():
            try:
                self.first.set_result(self._read(data))
            except ProtocolError:
                pass  # the answer to an earlier request, or nonsense

    def error_received(self, exc: Exception) -> None:
        """End the wait: no program listens at the port, or the network is down."""
        if not self.first.done():
            self.first.set_exception(RouterError(f"{_SILENT} ({exc})"))


async def ask(
    gateway: Gateway,
    port: int,
    request: bytes,
    read: Callable[[bytes], T],
) -> T:
    """Send a datagram to the router, several times if need be; return its answer.

    `read` raises `ProtocolError` for what is no answer to the request. Raises
    `RouterError` if none comes.
    """
    return await _ask(gateway, read, [(request, None)], RESEND, (gateway.address, port))


async def search(
    gateway: Gateway,
    requests: Iterable[bytes],
    targets: Iterable[tuple[str, int]],
    read: Callable[[bytes], T],
) -> T:
    """Send requests to each of the targets; return the first answer of the router.

    Raises as `ask` does.
    """
    where = list(targets)
    packets = [(request, target) for request in requests for target in where]
    return await _ask(gateway, read, packets, SEARCH_RESEND)


async def _ask(
    gateway: Gateway,
    read: Callable[[bytes], T],
    packets: Sequence[tuple[bytes, tuple[str, int] | None]],
    waits: Iterable[float],
    remote: tuple[str, int] | None = None,
) -> T:
    loop = asyncio.get_running_loop()
    try:
        transport, answers = await loop.create_datagram_endpoint(
            lambda: _Answers(gateway.address, read),
            local_addr=(gateway.local, 0),
            remote_addr=remote,
        )
    except OSError as error:
        raise RouterError(f"it cannot be reached ({error})") from None
    try:
        for wait in waits:
            for data, target in packets:
                transport.sendto(data, target)
            await asyncio.wait([answers.first], timeout=wait)
            if answers.first.done():
                return answers.first.result()
        raise RouterError(_SILENT)
    finally:
        answers.first.cancel()
        transport.close()


async def request_http(gateway: Gateway, url: Url, request: bytes) -> HttpResponse:
    """Send a request to the router; return its response.

    Raises `RouterError` if it sends none in time, or none that can be read.
    """
    try:
        async with asyncio.timeout(HTTP_TIME):
            return await _exchange(gateway, url, request)
    except TimeoutError:
        raise RouterError(f"it does not respond in {HTTP_TIME:g} s") from None
    except OSError as error:
        raise RouterError(f"it cannot be reached ({error})") from None
    except ProtocolError as error:
        raise RouterError(f"it sends {error}") from None


async def _exchange(gateway: Gateway, url: Url, request: bytes) -> HttpResponse:
    reader, writer = await asyncio.open_connection(
        gateway.address, url.port, local_addr=(gateway.local, 0), limit=READ_SIZE
    )
    try:
        writer.write(request)
        received = bytearray()
        while True:
            piece = await reader.read(READ_SIZE)
            received += piece
            answer = parse_response(bytes(received), is_ended=not piece)
            if answer is not None:
                return answer
    finally:
        writer.transport.abort()
