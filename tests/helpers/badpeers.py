"""Servers of an open channel that misbehave, each in one way.

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
    """Leave out the last byte of every chunk."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = self.content.chunk(index)[:-1]
        writer.write(frame({"type": "response", "index": index, "data": data}))


class SendsZeroes(FakeServer):
    """Send zeroes of the right length."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = bytes(len(self.content.chunk(index)))
        writer.write(frame({"type": "response", "index": index, "data": data}))


class WrongHashes(FakeServer):
    """Greet with hashes that do not give the channel's id."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        hashes = ["0" * 64, *self.content.hashes[1:]]
        writer.write(frame(self.content.handshake(hashes=hashes)))


class SizesDisagree(FakeServer):
    """Greet with one chunk more than there are hashes."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        size = (self.content.count + 1) * self.content.chunk_size
        writer.write(frame(self.content.handshake(fileSize=size)))


class AgreesWithCountOnly(FakeServer):
    """Greet with sizes that fit the number of hashes, and are wrong.

    `changes` are the sizes; `chunks_from` is asked for the answers.
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
    """Answer some requests and then none, while the connection stands."""

    def __init__(self, content: Content, answers: int) -> None:
        super().__init__(content)
        self._left = answers

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        if self._left > 0:
            self._left -= 1
            await super().answer(index, writer)


class NeverAnswers(StopsHalfway):
    """Greet and then say nothing."""

    def __init__(self, content: Content) -> None:
        super().__init__(content, 0)


class Drips(FakeServer):
    """Send a byte of an answer twice a second: never silent, never done."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = self.content.chunk(index)
        whole = frame({"type": "response", "index": index, "data": data})
        for position in range(len(whole)):
            writer.write(whole[position : position + 1])
            await writer.drain()
            await asyncio.sleep(0.5)


class ClosesAtOnce(FakeServer):
    """Accept and close."""

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        return


class ClosesAfterHandshake(FakeServer):
    """Greet, wait for a request, and close."""

    async def converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await self.greet(writer)
        await read_frame(reader)


class SendsUnsolicited(FakeServer):
    """Answer with a chunk that nobody asked for."""

    async def answer(self, index: int, writer: asyncio.StreamWriter) -> None:
        data = self.content.chunk(index)
        writer.write(
            frame({"type": "response", "index": self.content.count + 9, "data": data})
        )


class EndlessLength(FakeServer):
    """Begin with a length that never ends."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\xff" * 4096)


class NeverGreets(FakeServer):
    """Say nothing at all, and announce a handshake that does not come."""

    async def greet(self, writer: asyncio.StreamWriter) -> None:
        writer.write(varint(60 * 1024 * 1024))
