"""PCP, NAT-PMP and UPnP as methods to have a port mapped, and the choice among them.

Each `find_…` asks the router whether it speaks the protocol, which maps nothing yet.
`Probe` asks for all three at once. It prefers PCP, then NAT-PMP, then UPnP, and waits
for a better one that has not answered yet a moment only.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Self

from shoal.errors import ProtocolError, RouterError
from shoal.mapping.base import LIFETIME, Mapped, Method, check_mapped
from shoal.mapping.exchange import ask, request_http, search
from shoal.mapping.packets import (
    SERVER_PORT,
    NatPmpAnswer,
    PcpAnswer,
    natpmp_address_request,
    natpmp_map_request,
    parse_natpmp,
    parse_pcp,
    pcp_announce_request,
    pcp_map_request,
)
from shoal.mapping.responses import Element
from shoal.mapping.upnp import (
    SSDP_GROUP,
    SSDP_PORT,
    Service,
    find_services,
    http_get,
    parse_location,
    read_result,
    search_requests,
    soap_request,
)
from shoal.net.gateway import Gateway

__all__ = ["Probe", "find_natpmp", "find_pcp", "find_upnp", "searches_of"]

DESCRIPTION = "shoal"  # of our mappings, in the list that a router shows
OTHER_PORTS = 3  # tried after the wanted one

# Errors of UPnP: WANIPConnection:1 section 2.4.16.3 and :2 section 2.5.16.
_TAKEN, _ONLY_FOR_EVER = 718, 725


async def find_pcp(gateway: Gateway, nonce: bytes) -> "Pcp":
    """Return the router as one that speaks PCP; raises `RouterError` if it does not.

    `nonce` is what proves to it that a mapping is ours (RFC 6887 section 11.1).
    """
    request = pcp_announce_request(gateway.local)
    if await ask(gateway, SERVER_PORT, request, parse_pcp) is None:
        raise RouterError("it does not speak PCP")
    return Pcp(gateway, nonce)


class Pcp:
    """A router that speaks PCP (RFC 6887)."""

    name = "PCP"

    def __init__(self, gateway: Gateway, nonce: bytes) -> None:
        self._gateway = gateway
        self._nonce = nonce

    async def map(self, port: int, wanted: int) -> Mapped:
        """Map a port, or renew its mapping."""
        answer = await self._ask(port, wanted, LIFETIME)
        if (":" in answer.host) != (":" in self._gateway.local):
            raise RouterError("it names an address of another kind")
        if ":" in answer.host and answer.outside != port:
            raise RouterError("it only lets in connections to another port")
        return check_mapped(answer.host, answer.outside, answer.lifetime)

    async def unmap(self, port: int, outside: int) -> None:
        """Give a mapping back."""
        await self._ask(port, 0, 0)

    async def _ask(self, port: int, wanted: int, lifetime: int) -> PcpAnswer:
        def read(data: bytes) -> PcpAnswer:
            answer = parse_pcp(data)
            if answer is None:
                raise ProtocolError("an answer of another version")
            if (answer.nonce, answer.inside) != (self._nonce, port):
                raise ProtocolError("an answer to another request")
            return answer

        request = pcp_map_request(
            self._gateway.local, self._nonce, port, wanted, lifetime
        )
        answer = await ask(self._gateway, SERVER_PORT, request, read)
        if answer.problem:
            raise RouterError(answer.problem)
        return answer


async def find_natpmp(gateway: Gateway) -> "NatPmp":
    """Return the router as one that speaks NAT-PMP; raises `RouterError`."""
    method = NatPmp(gateway)
    await method.address()
    return method


class NatPmp:
    """A router that speaks NAT-PMP (RFC 6886)."""

    name = "NAT-PMP"

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def map(self, port: int, wanted: int) -> Mapped:
        """Map a port, or renew its mapping."""
        host = await self.address()
        answer = await self._ask(natpmp_map_request(port, wanted, LIFETIME), port)
        return check_mapped(host, answer.outside, answer.lifetime)

    async def unmap(self, port: int, outside: int) -> None:
        """Give a mapping back."""
        await self._ask(natpmp_map_request(port, 0, 0), port)

    async def address(self) -> str:
        """Return the router's address on the internet; raises `RouterError`."""
        return (await self._ask(natpmp_address_request(), 0)).host

    async def _ask(self, request: bytes, port: int) -> NatPmpAnswer:
        """Return the answer about a port, or about the address if `port` is 0."""

        def read(data: bytes) -> NatPmpAnswer:
            answer = parse_natpmp(data)
            if not answer.problem and answer.inside != port:
                raise ProtocolError("an answer to another request")
            return answer

        answer = await ask(self._gateway, SERVER_PORT, request, read)
        if answer.problem:
            raise RouterError(answer.problem)
        return answer


async def find_upnp(gateway: Gateway, *, multicasts: bool) -> "Upnp":
    """Return the router as one that speaks UPnP; raises `RouterError`.

    Without `multicasts`, only the router itself is asked, and not all answer that.
    """
    targets = [(gateway.address, SSDP_PORT)]
    if multicasts:
        targets.append((SSDP_GROUP, SSDP_PORT))
    read = partial(parse_location, router=gateway.address)
    url = await search(gateway, search_requests(), targets, read)
    answer = await request_http(gateway, url, http_get(url))
    try:
        services = find_services(answer.body, url)
    except ProtocolError as error:
        raise RouterError(f"it describes itself with {error}") from None
    for service in services:
        method = Upnp(gateway, service)
        # A router may have services for DSL and for cable: one has an address.
        if await method.address() not in ("", "0.0.0.0"):
            return method
    raise RouterError("it has no address on the internet, or maps no ports")


class Upnp:
    """A router that is an Internet Gateway Device of UPnP, version 1 or 2."""

    name = "UPnP"

    def __init__(self, gateway: Gateway, service: Service) -> None:
        self._gateway = gateway
        self._service = service

    async def map(self, port: int, wanted: int) -> Mapped:
        """Map a port, or renew its mapping."""
        host = await self.address()
        lifetime = LIFETIME
        for outside in _candidates(wanted):
            result, code = await self._add(port, outside, lifetime)
            if code == _ONLY_FOR_EVER:
                lifetime = 0
                result, code = await self._add(port, outside, lifetime)
            if code == _TAKEN:
                continue
            if code:
                raise RouterError(f"it answers with error {code}")
            chosen = result.text_of("NewReservedPort") or str(outside)
            number = int(chosen) if chosen.isascii() and chosen.isdigit() else 0
            return check_mapped(host, number, lifetime)
        raise RouterError("every port that was tried is taken")

    async def unmap(self, port: int, outside: int) -> None:
        """Give a mapping back."""
        fields = {"NewRemoteHost": "", "NewExternalPort": outside, "NewProtocol": "TCP"}
        await self._call("DeletePortMapping", fields)

    async def address(self) -> str:
        """Return the router's address on the internet, empty if it has none."""
        result, _ = await self._call("GetExternalIPAddress", {})
        return result.text_of("NewExternalIPAddress")

    async def _add(self, port: int, wanted: int, lifetime: int) -> tuple[Element, int]:
        fields = {
            "NewRemoteHost": "",
            "NewExternalPort": wanted,
            "NewProtocol": "TCP",
            "NewInternalPort": port,
            "NewInternalClient": self._gateway.local,
            "NewEnabled": 1,
            "NewPortMappingDescription": DESCRIPTION,
            "NewLeaseDuration": lifetime,
        }
        does_choose = self._service.chooses_port
        action = "AddAnyPortMapping" if does_choose else "AddPortMapping"
        return await self._call(action, fields)

    async def _call(
        self, action: str, fields: dict[str, object]
    ) -> tuple[Element, int]:
        request = soap_request(self._service, action, fields)
        answer = await request_http(self._gateway, self._service.url, request)
        try:
            return read_result(answer.status, answer.body)
        except ProtocolError as error:
            raise RouterError(f"it answers with {error}") from None


def _candidates(wanted: int) -> Iterator[int]:
    """Yield the ports of the router to try."""
    for number in range(1 + OTHER_PORTS):
        yield wanted + number if wanted + number <= 65535 else wanted - number


GRACE = 1.0  # seconds from the start in which a better protocol may still answer


def searches_of(
    gateway: Gateway, nonce: bytes, *, multicasts: bool
) -> dict[str, Coroutine[None, None, Method]]:
    """Return a search for each protocol, the preferred one first.

    Of IPv6, that is PCP only: NAT-PMP has no IPv6, and routers accept a request by UPnP
    only at an HTTP server with an IPv6 address.
    """
    if ":" in gateway.address:
        return {"PCP": find_pcp(gateway, nonce)}
    return {
        "PCP": find_pcp(gateway, nonce),
        "NAT-PMP": find_natpmp(gateway),
        "UPnP": find_upnp(gateway, multicasts=multicasts),
    }


class Probe:
    """Run the searches; an async context manager, which ends them."""

    def __init__(self, searches: dict[str, Coroutine[None, None, Method]]) -> None:
        """Start searches by the names of their protocols, the preferred one first.

        What one raises other than `RouterError` is raised by `next`.
        """
        self.failures: dict[str, str] = {}
        """Why a protocol cannot be used, as the end of a sentence."""
        self._searches = {
            name: asyncio.create_task(each) for name, each in searches.items()
        }
        self._clock = asyncio.get_running_loop().time
        self._decides_at = self._clock() + GRACE

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._searches.values():
            each.cancel()
        await asyncio.gather(*self._searches.values(), return_exceptions=True)

    async def next(self) -> Method | None:
        """Return the best method that was not returned yet; None if there is none."""
        while True:
            answered = self._answered()
            if not self._searches:
                return None
            wait = max(0.0, self._decides_at - self._clock()) if answered else None
            if wait == 0.0 or next(iter(self._searches)) in answered:
                chosen = next(name for name in self._searches if name in answered)
                return self._searches.pop(chosen).result()
            await asyncio.wait(
                [each for each in self._searches.values() if not each.done()],
                timeout=wait,
                return_when=asyncio.FIRST_COMPLETED,
            )

    def _answered(self) -> set[str]:
        """Return the protocols that the router speaks; forget those it does not."""
        for name, task in list(self._searches.items()):
            if task.done():
                try:
                    task.result()
                except RouterError as error:
                    self.failures[name] = str(error)
                    del self._searches[name]
        return {name for name, task in self._searches.items() if task.done()}
