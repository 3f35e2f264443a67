"""Servers of an open channel that misbehave, each in one way; see `fakeserver`.

async with FlipsABit(content) as liar, FakeServer(content) as honest:
    fetch(content.id, [liar.address, honest.address])
    assert liar.requests
"""

import asyncio
from typing import Any

from tests.helpers.fakeserver import FakeServer
from tests.helpers.wire import Content, frame, read_frame, varint

__all__ = [
    "AgreesWithCountOnly",
    "ClosesAfterHandshake",
    "ClosesAtOnce",
    "Drips",
    "EndlessLength",
    "FlipsABit",
    "NeverAnswers",
    "NeverGreets",
    "SendsAnother",
    "SendsShort",
    "SendsUnsolicited",
    "SendsZeroes",
    "SizesDisagree",
    "StopsHalfway",
    "WrongHashes",
]


class FlipsABit(FakeServer):
    """Change one bit of every chunk."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = bytearray(self.content.chunk(index))
        data[len(data) // 2] ^= 0x10
        writer.write(frame({"type": "response", "index": index, "data": bytes(data)}))


class SendsAnother(FakeServer):
    """Send the valid bytes of another chunk."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = self.content.chunk((index + 1) % self.content.count)
        writer.write(frame({"type": "response", "index": index, "data": data}))


class SendsShort(FakeServer):
    """Omit the last byte of every chunk."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = self.content.chunk(index)[:-1]
        writer.write(frame({"type": "response", "index": index, "data": data}))


class SendsZeroes(FakeServer):
    """Send zeros of the right length."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = bytes(len(self.content.chunk(index)))
        writer.write(frame({"type": "response", "index": index, "data": data}))


class WrongHashes(FakeServer):
    """Send a handshake whose hashes do not match the channel's id."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        hashes = ["0" * 64, *self.content.hashes[1:]]
        writer.write(frame(self.content.handshake(hashes=hashes)))


class SizesDisagree(FakeServer):
    """Send a handshake with one chunk more than hashes."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        size = (self.content.count + 1) * self.content.chunk_size
        writer.write(frame(self.content.handshake(fileSize=size)))


class AgreesWithCountOnly(FakeServer):
    """Send a handshake with wrong sizes that match the number of hashes.

    `changes` are the sizes; the chunks are those of `chunks_from`.
    """

    def __init__(
        self,
        content: Content,
        changes: dict[str, Any],
        answers: type[FakeServer] = FakeServer,
    ) -> None:
        super().__init__(content)
        self._changes = changes
        self._answers = answers

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        writer.write(frame(self.content.handshake(**self._changes)))

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        await self._answers.answer(self, index, writer)


class StopsHalfway(FakeServer):
    """Answer some requests, then none, without closing the connection."""

    def __init__(self, content: Content, answers: int) -> None:
        super().__init__(content)
        self._left = answers

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        if self._left > 0:
            self._left -= 1
            await super().answer(index, writer)


class NeverAnswers(StopsHalfway):
    """Send the handshake and nothing else."""

    def __init__(self, content: Content) -> None:
        super().__init__(content, 0)


class Drips(FakeServer):
    """Send one byte of an answer every half second, so it is never silent or done."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = self.content.chunk(index)
        whole = frame({"type": "response", "index": index, "data": data})
        for position in range(len(whole)):
            writer.write(whole[position : position + 1])
            await writer.drain()
            await asyncio.sleep(0.5)


class ClosesAtOnce(FakeServer):
    """Accept connections and close them."""

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        return


class ClosesAfterHandshake(FakeServer):
    """Send the handshake, wait for a request, and close."""

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await self.greet(writer)
        await read_frame(reader)


class SendsUnsolicited(FakeServer):
    """Answer with a chunk that was not requested."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = self.content.chunk(index)
        writer.write(
            frame({"type": "response", "index": self.content.count + 9, "data": data})
        )


class EndlessLength(FakeServer):
    """Send a frame length without an end."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff" * 4096)


class NeverGreets(FakeServer):
    """Send only the length of a handshake."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        writer.write(varint(60 * 1024 * 1024))
