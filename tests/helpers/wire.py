"""The messages of an open channel, implemented independently of shoal.

Tests that check bytes on the wire use this module, not the code under test.
"""

import asyncio
import hashlib
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

__all__ = [
    "Content",
    "frame",
    "pack",
    "read_frame",
    "receive_frame",
    "sealed_frame",
    "unframed",
    "varint",
]


def varint(value: int) -> bytes:
    """Return `value` as an unsigned LEB128."""
    low, rest = value & 0x7F, value >> 7
    return bytes((low | 0x80,)) + varint(rest) if rest else bytes((low,))


def pack(message: Mapping[str, Any]) -> bytes:
    """Return the msgpack of a message."""
    return msgspec.msgpack.encode(dict(message))


def frame(message: Mapping[str, Any]) -> bytes:
    """Return a message in a frame."""
    body = pack(message)
    return varint(len(body)) + body


def sealed_frame(message: Mapping[str, Any]) -> bytes:
    """Return a message of a sealed share; the data of a response follows its frame."""
    if message["type"] != "response" or "data" not in message:
        return frame(message)
    header = {key: value for key, value in message.items() if key != "data"}
    data: bytes = message["data"]
    return frame({**header, "length": len(data)}) + data


async def read_frame(reader: asyncio.StreamReader) -> dict[str, Any]:
    """Read one message; raise `IncompleteReadError` at the end of the stream."""
    size, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    message: dict[str, Any] = msgspec.msgpack.decode(await reader.readexactly(size))
    return message


def receive_frame(sock: socket.socket) -> dict[str, Any]:
    """Read one message from a blocking socket that has a timeout."""
    size, shift = 0, 0
    while True:
        byte = _receive(sock, 1)[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    message: dict[str, Any] = msgspec.msgpack.decode(_receive(sock, size))
    return message


def _receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError(f"{len(data)} of {size} bytes")
        data += more
    return data


@dataclass(frozen=True)
class Content:
    """The content of a file, with its chunks, hashes and ids in an open channel."""

    data: bytes
    chunk_size: int = 1024

    @classmethod
    def make(cls, size: int, chunk_size: int = 1024, *, seed: int = 1) -> "Content":
        """Return a content of `size` bytes, the same in every run."""
        return cls(random.Random(seed).randbytes(size), chunk_size)

    @property
    def count(self) -> int:
        """Return the number of chunks."""
        return -(-len(self.data) // self.chunk_size)

    def chunk(self, index: int) -> bytes:
        """Return one chunk."""
        return self.data[index * self.chunk_size :][: self.chunk_size]

    @property
    def hashes(self) -> list[str]:
        """Return the hex SHA-256 of every chunk."""
        return [
            hashlib.sha256(self.chunk(index)).hexdigest() for index in range(self.count)
        ]

    @property
    def id(self) -> str:
        """Return the id of its hash channel."""
        return hashlib.sha256("\n".join(self.hashes).encode()).hexdigest()

    def handshake(self, **changes: Any) -> dict[str, Any]:
        """Return the handshake with changed keys; a value of None omits a key."""
        message = {
            "type": "handshake",
            "hashes": self.hashes,
            "chunkSize": self.chunk_size,
            "fileSize": len(self.data),
            **changes,
        }
        return {key: value for key, value in message.items() if value is not None}


def unframed(whole: bytes) -> bytes:
    """Return the body of a frame, after checking its length."""
    for used in range(1, 5):
        if whole[:used] == varint(len(whole) - used):
            return whole[used:]
    raise AssertionError(whole[:20])
