"""Inputs that are mutated after the cryptography, so that fuzzing gets past it.

A fuzzer cannot forge a tag or a hash. These functions read its bytes as changes to
what is valid, and then encrypt or hash the result as an attacker who has the link does.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import repeat
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from shoal.core.crypto.hashes import root_digest
from shoal.core.crypto.knock import ClientHandshake, ServerHandshake
from shoal.core.crypto.noise import Ciphers, Start, answer, open_first, start_from
from shoal.core.manifest.manifest import Manifest
from shoal.core.session.sealed_session import SealedSession
from shoal.core.wire.messages import encode_varint
from shoal.core.wire.noise_messages import leading_messages, seal, unseal_into
from shoal.errors import ShoalError
from tests.helpers.sessions import receive

__all__ = ["read_conversation", "read_handshake", "read_root_fields"]

ID = bytes(range(32))
CLIENT = X25519PrivateKey.from_private_bytes(bytes([1]) * 32)
SERVER = X25519PrivateKey.from_private_bytes(bytes([2]) * 32)
SERVER_ID = bytes([3]) * 16
PAYLOAD = 18  # bytes of the client's: two versions and its node id
PIECE = 16_384  # bytes of a message of Noise
REPLY = 19  # bytes of the server's: three versions and its node id
START: Start = start_from(ID, b"shoal/v2")


def read_handshake(data: bytes) -> None:
    """Take part in handshakes whose encrypted payloads, or one bit, are chosen."""
    open_first(START, data)
    said, reply = data[:PAYLOAD], data[PAYLOAD : PAYLOAD + REPLY]
    flips = data[PAYLOAD + REPLY :]
    if len(reply) < REPLY:
        return
    versions = (said[0], said[1])
    client = ClientHandshake(START, said[2:], versions, CLIENT)
    opened = open_first(START, _flipped(client.knock, flips[:2]))
    if opened is None:
        return
    server = ServerHandshake(opened, SERVER_ID, private=SERVER)
    crafted, _ = answer(opened, reply, SERVER)
    confirmation = bytes(16)
    with suppress(ShoalError):
        client.finish(_flipped(crafted, flips[2:4]))
    with suppress(ShoalError):
        greeted, confirmation = client.finish(server.reply)
        assert greeted.node_id == SERVER_ID
    with suppress(ShoalError):
        found = server.finish(_flipped(confirmation, flips[4:6]))
        assert found.node_id == said[2:]


def _flipped(message: bytes, place: bytes) -> bytes:
    """Return a message with one bit changed, if `place` has two bytes."""
    if len(place) < 2:
        return message
    number = struct.unpack(">H", place)[0] % (8 * len(message))
    changed = bytearray(message)
    changed[number >> 3] ^= 1 << (number & 7)
    return bytes(changed)


def ciphers() -> tuple[Ciphers, Ciphers]:
    """Return the ciphers of a client and of a server after a handshake."""
    client = ClientHandshake(START, bytes(16), private=CLIENT)
    opened = open_first(START, client.knock)
    assert opened is not None
    server = ServerHandshake(opened, SERVER_ID, private=SERVER)
    greeted, confirmation = client.finish(server.reply)
    return greeted.ciphers, server.finish(confirmation).ciphers


def read_conversation(session: SealedSession, data: bytes) -> None:
    """Decrypt messages of Noise, with frames made of `data`, for a session."""
    client, server = ciphers()
    plain = b"".join(encode_varint(len(each)) + each for each in messages(data))
    views = memoryview(plain)
    payloads = [views[at : at + PIECE] for at in range(0, len(plain), PIECE)]
    sealed = seal(payloads, client.send.take_keys(len(payloads)))
    arrived = leading_messages(sealed, len(plain) + 1)
    assert len(arrived) == len(payloads)
    target = memoryview(bytearray(len(plain)))
    unseal_into(arrived, server.receive.take_keys(len(arrived)), target)
    assert target == plain
    receive(session, bytes(target), repeat(PIECE))


FIELDS: dict[str, tuple[str, ...]] = {
    "hello": ("port", "root", "bitfield", "seen"),
    "bitfield": ("bits",),
    "have": ("ranges",),
    "want": ("ranges",),
    "pulling": ("ranges",),
    "request": ("index",),
    "response": ("index", "length"),
    "read": ("read", "index", "first", "count", "hashes"),
    "blocks": ("read", "data", "hashes"),
    "page": ("table", "level", "index", "data"),
    "cancel": ("index", "read"),
    "refuse": ("index", "reason", "read"),
    "wrong": ("index",),
    "finished": (),
    "peers": ("addresses",),
    "meet": ("host", "ports", "wait"),
    "goodbye": ("reason",),
}
"""The keys of each message of a sealed share."""


def messages(data: bytes) -> Iterator[bytes]:
    """Yield a hello, and then messages whose types and values are chosen by `data`."""
    yield msgspec.msgpack.encode({"type": "hello", "port": 1})
    source = iter(data)
    kinds = list(FIELDS)
    for kind in source:
        name = kinds[kind % len(kinds)]
        message: dict[str, Any] = {"type": name}
        for key in FIELDS[name]:
            value = _value(source, 0)
            if value is not None:
                message[key] = value
        yield msgspec.msgpack.encode(message)


def _value(source: Iterator[int], depth: int) -> Any:
    """Return the value that the next bytes describe; None leaves a key out."""
    kind = next(source, 0)
    if kind < 0x80:  # small numbers are valid in most places
        return None if kind == 0x7F else kind
    match kind % 8:
        case 0:
            return bytes(next(source, 0) for _ in range(kind & 0x3F))
        case 1:
            return "".join(chr(next(source, 0)) for _ in range(kind & 0x1F))
        case 2:
            return int.from_bytes(bytes(next(source, 0) for _ in range(4)), "big")
        case 3:
            return bool(kind & 8)
        case 4:
            return "files" if kind & 8 else "hashes"
        case 5 if depth < 3:
            return [_value(source, depth + 1) for _ in range(kind >> 3 & 7)]
        case 6:
            return bytes(next(source, 0) << 4)
        case _:
            return -next(source, 0)


def read_root_fields(root: dict[str, Any], data: bytes) -> None:
    """Decode a root record in which values are replaced, with the right hash."""
    keys, source = [*root, "salt", "date", "mode", "type", "new"], iter(data)
    changed = dict(root)
    for number in source:
        key = keys[number % len(keys)]
        value = _value(source, 0)
        changed.pop(key, None)
        if value is not None:
            changed[key] = value
    # The keys of a canonical record are in order.
    record = msgspec.msgpack.encode(dict(sorted(changed.items())))
    found = Manifest(root_digest(record), record).root
    assert min(found.chunks.count, found.file_count) >= 0
