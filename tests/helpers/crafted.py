"""A holder that crafts its own Noise messages, one by one.

async with crafted(address, keys) as peer:
    await peer.send(peer.message(b"x") * 1000)
"""

import asyncio
import hashlib
import hmac
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.knock import ANSWER_SIZE, ClientHandshake, handshake_start
from shoal.core.crypto.noise import Ciphers, Start
from shoal.core.names.address import Address

__all__ = [
    "LOW_ORDER",
    "Crafted",
    "crafted",
    "knocked",
    "low_order_knock",
    "read_exactly",
]

PATIENCE = 15.0  # seconds
# Points of small order, RFC 7748 section 6.1: the shared secret would be zero.
LOW_ORDER = [
    bytes(32),
    b"\x01".ljust(32, b"\0"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
]


def low_order_knock(start: Start, point: bytes) -> bytes:
    """Return a knock that the psk opens, with one of `LOW_ORDER` as its key."""
    secret = hmac.digest(start.chaining_key, point, "sha256")
    chaining_key = hmac.digest(secret, b"\x01", "sha256")
    key = hmac.digest(secret, chaining_key + b"\x02", "sha256")
    extra = hashlib.sha256(start.hash + point).digest()
    return point + AESGCM(key).encrypt(bytes(12), b"\x02\x02" + bytes(16), extra)


class Crafted:
    """A connection after the handshake whose messages to the peer are crafted."""

    def __init__(self, sock: socket.socket, ciphers: Ciphers) -> None:
        self.ciphers = ciphers
        self._sock = sock

    def message(self, payload: bytes) -> bytes:
        """Return one message with this payload, which may be empty."""
        sealed = self.ciphers.send.encrypt(payload)
        return len(sealed).to_bytes(2, "big") + sealed

    async def send(self, data: bytes) -> bool:
        """Send as much as the peer accepts; return True if that was everything."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE):
                await loop.sock_sendall(self._sock, data)
        except (OSError, TimeoutError):
            return False
        return True

    def hang_up(self) -> None:
        """Close our side of the TCP connection."""
        self._sock.shutdown(socket.SHUT_WR)

    async def until_lost(self) -> int:
        """Read until the peer closes the connection; return the bytes received."""
        loop = asyncio.get_running_loop()
        count = 0
        async with asyncio.timeout(PATIENCE):
            with suppress(OSError):
                while piece := await loop.sock_recv(self._sock, 65_536):
                    count += len(piece)
        return count


@asynccontextmanager
async def knocked(
    address: Address, keys: Keys
) -> AsyncIterator[tuple[socket.socket, Ciphers, bytes]]:
    """Knock at a node; yield the socket, the ciphers and the confirmation to send."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        async with asyncio.timeout(PATIENCE):
            await loop.sock_connect(sock, tuple(address))
            handshake = ClientHandshake(handshake_start(keys), os.urandom(16))
            await loop.sock_sendall(sock, handshake.knock)
            answer = await read_exactly(sock, ANSWER_SIZE)
        greeted, confirmation = handshake.finish(answer)
        yield sock, greeted.ciphers, confirmation


@asynccontextmanager
async def crafted(address: Address, keys: Keys) -> AsyncIterator[Crafted]:
    """Dial a node that has the share and prove the id, as a client."""
    loop = asyncio.get_running_loop()
    async with knocked(address, keys) as (sock, ciphers, confirmation):
        await loop.sock_sendall(sock, confirmation)
        yield Crafted(sock, ciphers)


async def read_exactly(sock: socket.socket, size: int) -> bytes:
    """Return the next bytes of a socket; raises `ConnectionError` at its end."""
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        piece = await loop.sock_recv(sock, size - len(data))
        if not piece:
            raise ConnectionError("the peer closed the connection")
        data += piece
    return data
