"""A router on loopback that answers as a test says: PCP and NAT-PMP, SSDP and HTTP."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import cast

from shoal.mapping.packets import SERVER_PORT
from shoal.mapping.upnp import SSDP_PORT
from shoal.net.gateway import Gateway

__all__ = ["FakeRouter", "fake_router"]

_PID = os.getpid()
# Test runs at the same time use different addresses, and so does each router of one.
_hosts = (f"127.{64 | _PID >> 8 & 63}.{_PID & 255}.{last}" for last in range(1, 255))

Answer = Callable[[bytes], bytes | None]
"""Return the answer to a request; None for none."""


class FakeRouter:
    """What the router answers and what it was asked; a test changes both."""

    def __init__(self, address: str) -> None:
        self.gateway = Gateway(address, "lo", "127.0.0.1")
        """The router as our machine finds it."""
        self.answer_datagram: Answer = lambda request: None
        """To PCP and NAT-PMP."""
        self.answer_search: Answer = lambda request: None
        """To SSDP."""
        self.answer_http: Answer = lambda request: None
        """To HTTP, at `http_port`; the connection ends after it."""
        self.holds_http = False
        """Whether requests by HTTP are not answered, and their connections stay."""
        self.http_port = 0
        self.asked: list[bytes] = []
        """Every request, in order."""

    def location(self, path: str = "/desc.xml") -> bytes:
        """Return an answer to a search, with the URL of the description."""
        url = f"http://{self.gateway.address}:{self.http_port}{path}"
        return f"HTTP/1.1 200 OK\r\nLOCATION: {url}\r\n\r\n".encode()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, router: FakeRouter, get: Callable[[], Answer]) -> None:
        self._router = router
        self._get = get
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._router.asked.append(data)
        answer = self._get()(data)
        if answer is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def fake_router() -> AsyncIterator[FakeRouter]:
    """Yield a router at an address of its own, which answers nothing yet."""
    router = FakeRouter(next(_hosts))
    address, loop = router.gateway.address, asyncio.get_running_loop()

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        router.asked.append(await reader.readuntil(b"\r\n\r\n"))
        if router.holds_http:
            await reader.read()
        else:
            writer.write(router.answer_http(router.asked[-1]) or b"")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with AsyncExitStack() as stack:
        for port, get in (
            (SERVER_PORT, lambda: router.answer_datagram),
            (SSDP_PORT, lambda: router.answer_search),
        ):
            transport, _ = await loop.create_datagram_endpoint(
                lambda get=get: _Udp(router, get),  # type: ignore[misc]
                local_addr=(address, port),
            )
            stack.callback(transport.close)
        server = await asyncio.start_server(serve, address, 0)
        router.http_port = server.sockets[0].getsockname()[1]
        stack.callback(server.close)
        yield router
        if serving:
            await asyncio.wait(serving)
