"""Connections for several shares, and the DHT, between the same two addresses."""

import asyncio
import os

import pytest

from shoal.core.names.address import Address
from tests.helpers.sealed import KEYS, OTHER_KEYS
from tests.transport.quic.test_by_udp import Node, two_nodes

QUESTION = b"d1:ad2:id20:" + bytes(20) + b"e1:q4:ping1:t2:aa1:y1:qe"
"""Its first byte is that of a short QUIC packet, too."""


async def test_two_that_dial_each_other_for_two_shares_connect_for_both() -> None:
    async with two_nodes() as (one, other):
        for node in (one, other):
            node.port.register(KEYS, node.serve)
            node.port.register(OTHER_KEYS, node.serve)
        made = await asyncio.gather(one.dial(other), other.dial(one, OTHER_KEYS))
        for plain, data in zip(made, (b"hello", b"other"), strict=True):
            plain.transport.write(data)
            assert await plain.until(5) == data


async def test_a_second_share_connects_beside_the_first() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        other.port.register(OTHER_KEYS, other.serve)
        made = await one.dial(other), await one.dial(other, OTHER_KEYS)
        data = [os.urandom(1 << 20), os.urandom(1 << 20)]
        for plain, part in zip(made, data, strict=True):
            plain.transport.write(part)
        received = [await each.until(1 << 20) for each in made]
        assert received == data
        made[0].transport.abort()
        await made[0].until_lost()
        made[1].transport.write(b"still here")
        assert (await made[1].until((1 << 20) + 10)).endswith(b"still here")


async def test_datagrams_of_the_dht_from_a_connected_peer_are_left_to_it() -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        plain = await one.dial(other)
        one.socket.send(QUESTION, other.address)
        await other.until_left
        assert other.left == [QUESTION]
        plain.transport.write(b"hello")
        assert await plain.until(5) == b"hello"


@pytest.mark.parametrize("is_first", [False, True])
async def test_packets_that_the_kernel_has_joined_to_one_of_the_dht_arrive(
    is_first: bool,
) -> None:
    async with two_nodes() as (one, other):
        other.port.register(KEYS, other.serve)
        plain = await one.dial(other)
        taken = join_to_the_dht(other, one.address, is_first=is_first)
        plain.transport.write(os.urandom(5000))
        await plain.until(5000)
        assert taken == [False], "so that the DHT gets it"


def join_to_the_dht(node: Node, source: Address, *, is_first: bool) -> list[bool]:
    """Have a datagram of the DHT arrive together with the next full packets."""
    receive, taken = node.udp.on_datagrams, list[bool]()

    def join(data: bytes, segment: int, sender: Address) -> bool:
        if taken or len(data) < segment or segment < 1000:
            return receive(data, segment, sender)
        full = len(data) // segment * segment
        size = segment if is_first else segment - 1
        message = (QUESTION + bytes(segment))[:size]
        parts = (message, data[:full]) if is_first else (data[:full], message)
        taken.append(receive(b"".join(parts), segment, source))
        if data[full:]:
            receive(data[full:], len(data) - full, source)
        return True

    node.udp.on_datagrams = join  # type: ignore[assignment]
    return taken
