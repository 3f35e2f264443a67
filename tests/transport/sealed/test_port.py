"""The port of a node presents the right certificate, and recognises itself."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shoal.core.crypto.proof import make_knock
from shoal.core.names.address import Address
from shoal.errors import SelfConnectionError
from shoal.transport.sealed.port import Port
from shoal.transport.sealed.proven import ProvenPeer
from shoal.transport.tls.certificate import client_context, peer_certificate
from tests.helpers.sealed import KEYS, Plain


class Machine:
    """Have addresses that a test can change."""

    def __init__(self) -> None:
        self.present = frozenset({"127.0.0.1", "10.0.0.1"})

    def addresses(self) -> frozenset[str]:
        return self.present


@asynccontextmanager
async def open_port(machine: Machine) -> AsyncIterator[Port]:
    port = Port(["127.0.0.1"], 0, addresses=machine.addresses)
    port.register(KEYS, Plain)
    try:
        yield port
    finally:
        await port.aclose()


async def presented(port: Port) -> bytes:
    """Return the digest of the certificate that a port presents after a knock."""
    _, writer = await asyncio.open_connection("127.0.0.1", port.port)
    writer.write(make_knock(KEYS.knock, os.urandom(16)))
    await writer.start_tls(client_context(), server_hostname="")
    digest = peer_certificate(writer.get_extra_info("ssl_object"))
    writer.transport.abort()
    assert digest is not None
    return digest


async def test_a_change_of_addresses_makes_a_new_certificate() -> None:
    machine = Machine()
    async with open_port(machine) as port:
        first = await presented(port)
        assert await presented(port) == first
        machine.present = frozenset({"127.0.0.1", "192.168.1.9"})
        second = await presented(port)
        assert second != first
        machine.present = frozenset({"127.0.0.1"})
        assert await presented(port) not in (first, second)


async def test_a_node_recognises_an_earlier_certificate_of_its_own() -> None:
    """A slow connection to ourselves may still present the earlier certificate."""
    machine = Machine()
    async with open_port(machine) as port:
        digest = await presented(port)
        machine.present = frozenset()
        assert await presented(port) != digest
        assert digest in port._certificates

        def never(_: ProvenPeer) -> Plain:
            raise AssertionError("the node connected to itself")

        with pytest.raises(SelfConnectionError):
            await port.dialler(KEYS)(Address("127.0.0.1", port.port), never)
