"""A holder that crafts its own TLS records.

Python's `ssl` performs the handshake and the proofs. Then `CraftedTls` derives the keys
of its direction from the key log of `ssl`, so it can send any record: endless key
updates, records of one byte or none.

async with crafted(address, keys) as tls:
    await tls.send(tls.key_update() * 1000)
"""

import asyncio
import hmac
import os
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.proof import ClientProof, make_knock
from shoal.core.names.address import Address

__all__ = ["ALERT", "CraftedTls", "crafted"]

PATIENCE = 15.0  # seconds
APPLICATION_DATA, HANDSHAKE, ALERT = 23, 22, 21  # content types
_KEY_UPDATE = 24  # handshake message
_Aead = type[AESGCM] | type[ChaCha20Poly1305]
_CIPHERS: dict[str, tuple[str, int, _Aead]] = {
    "TLS_AES_256_GCM_SHA384": ("sha384", 32, AESGCM),
    "TLS_AES_128_GCM_SHA256": ("sha256", 16, AESGCM),
    "TLS_CHACHA20_POLY1305_SHA256": ("sha256", 32, ChaCha20Poly1305),
}


class CraftedTls:
    """A connection after the proofs whose records to the peer are crafted."""

    def __init__(self, sock: socket.socket, secret: bytes, cipher: str) -> None:
        """Continue where `ssl` stopped, after the record of the proof."""
        self._sock = sock
        self._hash, self._key_size, self._aead = _CIPHERS[cipher]
        self._secret = secret
        self._change_keys()
        self._number = 1  # sequence number of the next record

    def record(self, data: bytes, kind: int = APPLICATION_DATA) -> bytes:
        """Return one record that contains `data`."""
        inner = data + bytes((kind,))
        header = struct.pack(">BHH", APPLICATION_DATA, 0x0303, len(inner) + 16)
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        self._number += 1
        return header + self._cipher.encrypt(nonce, inner, header)

    def key_update(self, *, asks_for_one: bool = False) -> bytes:
        """Return a key update; later records use the next keys."""
        message = bytes((_KEY_UPDATE, 0, 0, 1, asks_for_one))
        made = self.record(message, HANDSHAKE)
        size = len(self._secret)
        self._secret = self._expand(b"traffic upd", size)
        self._change_keys()
        self._number = 0
        return made

    async def send(self, data: bytes) -> bool:
        """Send as much as the peer accepts; return True if that was everything."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE):
                await loop.sock_sendall(self._sock, data)
        except (OSError, TimeoutError):
            return False
        return True

    async def until_lost(self) -> int:
        """Read until the peer closes the connection; return the bytes received."""
        loop = asyncio.get_running_loop()
        count = 0
        async with asyncio.timeout(PATIENCE):
            with suppress(OSError):
                while piece := await loop.sock_recv(self._sock, 65_536):
                    count += len(piece)
        return count

    def _change_keys(self) -> None:
        self._cipher = self._aead(self._expand(b"key", self._key_size))
        self._iv = int.from_bytes(self._expand(b"iv", 12), "big")

    def _expand(self, label: bytes, size: int) -> bytes:
        """Return HKDF-Expand-Label with an empty context (RFC 8446, section 7.1)."""
        label = b"tls13 " + label
        info = struct.pack(">HB", size, len(label)) + label + b"\0"
        expanded = hmac.digest(self._secret, info + b"\x01", self._hash)
        assert size <= len(expanded)
        return expanded[:size]


@asynccontextmanager
async def crafted(address: Address, keys: Keys) -> AsyncIterator[CraftedTls]:
    """Dial a node that has the share and prove the id, as a client."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock, tempfile.TemporaryDirectory() as folder:
        sock.setblocking(False)
        await loop.sock_connect(sock, tuple(address))
        log = Path(folder) / "keys"
        handshake = _Handshake(sock, log)
        async with asyncio.timeout(PATIENCE):
            await loop.sock_sendall(sock, make_knock(keys.knock, os.urandom(16)))
            await handshake.run()
            await handshake.prove(keys)
        yield CraftedTls(sock, _secret_in(log.read_text()), handshake.cipher)


class _Handshake:
    """The handshake and the proofs, which `ssl` performs."""

    def __init__(self, sock: socket.socket, log: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.keylog_filename = str(log)
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)

    @property
    def cipher(self) -> str:
        found = self._tls.cipher()
        assert found is not None
        return found[0]

    async def run(self) -> None:
        """Shake hands."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._exchange()
            else:
                return

    async def prove(self, keys: Keys) -> None:
        """Prove the id, and read the proof of the other end."""
        der = self._tls.getpeercert(binary_form=True)
        assert der is not None
        node_id = os.urandom(16)
        proof = ClientProof(keys, node_id, sha256(der).digest(), os.urandom(32))
        while not proof.is_done:
            try:
                proof.receive(self._tls.read(proof.needed))
            except ssl.SSLWantReadError:
                await self._exchange()
            else:
                self._tls.write(proof.data_to_send() or b"")

    async def _exchange(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._sock, self._outgoing.read())
        received = await loop.sock_recv(self._sock, 65_536)
        if not received:
            raise ConnectionError("the peer closed the connection")
        self._incoming.write(received)


def _secret_in(log: str) -> bytes:
    """Return the client's traffic secret from a key log."""
    for line in log.splitlines():
        if line.startswith("CLIENT_TRAFFIC_SECRET_0 "):
            return bytes.fromhex(line.rpartition(" ")[2])
    raise AssertionError("no secret was logged")
