"""Offer and redeem codes on 127.0.0.1, and pretend to be a sender.

A `Squatter` knows the number and the first word of a code, and no more.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from random import Random
from typing import TypeAlias

from shoal.codes.exact_stream import ExactStream
from shoal.codes.offer import CODE_TIME, OfferedCode
from shoal.codes.redeem import redeem_code
from shoal.config.settings import Settings
from shoal.core.crypto.pake import PROOF_SIZE, SenderPake
from shoal.core.names.address import Address
from shoal.core.names.code import Code
from shoal.core.names.link import Link
from shoal.core.report.events import CodeChanged, Notice, ShareEvent
from shoal.core.session.code_exchange import (
    GREETING_SIZE,
    VERDICT_SIZE,
    ReceiverExchange,
)
from shoal.errors import PeerError
from shoal.resources import Resources
from shoal.transport.sealed.dial import dial_sealed
from shoal.transport.sealed.port import Port
from shoal.transport.sealed.proven import ProvenPeer

__all__ = [
    "CODE",
    "LINK",
    "WRONG",
    "Meet",
    "Sender",
    "Squatter",
    "answer_greeting",
    "answer_without_proof",
    "dial",
    "dialled",
    "guess",
    "offering",
    "redeem",
    "refuse",
    "say_nothing",
    "squatting",
    "take_proof",
]

CODE = Code(4821, ("purity", "carbon", "olympic"))
WRONG = Code(4821, ("purity", "carbon", "zoo"))
LINK = Link(bytes(range(32)))


def make_resources(
    *peers: Address, relays: tuple[Address, ...] = (), notices: list[str] | None = None
) -> Resources:
    """Return resources that find these addresses and use these relays only."""
    heard: list[str] = [] if notices is None else notices

    def on_notice(notice: Notice) -> None:
        heard.append(notice.text)

    settings = Settings(peers=peers, relays=relays, lan_only=True, no_lan=True)
    return Resources(settings, rng=Random(1), on_notice=on_notice)


class Sender:
    """A node that offers a code."""

    def __init__(self, offered: OfferedCode, port: Port) -> None:
        self.offered = offered
        self.port = port
        self.address = Address("127.0.0.1", port.port)
        self.events: list[CodeChanged] = []
        self._changed = asyncio.Event()

    def on_event(self, event: ShareEvent) -> None:
        """Keep an event."""
        assert isinstance(event, CodeChanged)
        self.events.append(event)
        self._changed.set()

    async def until(self, state: str) -> CodeChanged:
        """Wait for an event with this state."""
        async with asyncio.timeout(30):
            while True:
                for event in self.events:
                    if event.state == state:
                        return event
                self._changed.clear()
                await self._changed.wait()

    @property
    def states(self) -> list[str]:
        """Return the states of all events."""
        return [event.state for event in self.events]


@asynccontextmanager
async def offering(
    code: Code = CODE,
    link: Link = LINK,
    *,
    receivers: int = 1,
    seconds: float = CODE_TIME,
    hosts: tuple[str, ...] = ("127.0.0.1",),
    relays: tuple[Address, ...] = (),
) -> AsyncIterator[Sender]:
    """Offer a link under a given code."""
    async with aclosing(make_resources(relays=relays)) as resources:
        port = Port(hosts, 0, resources.threads)
        resources.own(port.aclose)
        sender: Sender
        offered = OfferedCode(
            *(resources, port, code, str(link), receivers),
            on_event=lambda event: sender.on_event(event),
        )
        sender = Sender(offered, port)
        offered.register()
        resources.own_task(offered.run(seconds, asyncio.Event().wait))
        yield sender


async def redeem(
    code: Code,
    *peers: Address,
    timeout: float | None = None,
    notices: list[str] | None = None,
    relays: tuple[Address, ...] = (),
) -> Link:
    """Redeem a code as a new node that knows these addresses."""
    made = make_resources(*peers, relays=relays, notices=notices)
    async with aclosing(made) as resources:
        port = Port(("127.0.0.1",), 0, resources.threads)
        resources.own(port.aclose)
        return await redeem_code(resources, port, code, timeout)


async def dial(code: Code, address: Address) -> ExactStream:
    """Return a connection with an end of a code, after the handshake."""
    return await dial_sealed(
        address, code.keys, os.urandom(16), lambda proven: ExactStream(VERDICT_SIZE)
    )


@asynccontextmanager
async def dialled(code: Code, address: Address) -> AsyncIterator[ExactStream]:
    """Yield a connection as of `dial`, and end it."""
    stream = await dial(code, address)
    try:
        yield stream
    finally:
        stream.abort()


async def guess(code: Code, address: Address) -> bytes:
    """Try a code at an address; return the verdict, empty if there is none."""
    with suppress(PeerError):
        async with asyncio.timeout(30), dialled(code, address) as stream:
            receiver = ReceiverExchange(code, os.urandom)
            stream.write(receiver.greeting)
            stream.write(receiver.prove(await stream.read(GREETING_SIZE)))
            return await stream.read(VERDICT_SIZE)
    return b""


class Squatter:
    """A node at the rendezvous of a code that does not know its other words."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.greetings: list[bytes] = []
        self.proofs: list[bytes] = []
        """What receivers have sent it."""


Meet: TypeAlias = Callable[[Squatter, ExactStream], Awaitable[None]]
"""Answer one receiver."""


@asynccontextmanager
async def squatting(meet: Meet, code: Code = CODE) -> AsyncIterator[Squatter]:
    """Listen at the rendezvous of a code, and answer each receiver with `meet`."""
    async with aclosing(make_resources()) as resources, asyncio.TaskGroup() as tasks:
        port = Port(("127.0.0.1",), 0, resources.threads)
        resources.own(port.aclose)
        squatter = Squatter(Address("127.0.0.1", port.port))
        running: list[asyncio.Task[None]] = []

        async def serve(stream: ExactStream) -> None:
            with suppress(PeerError):
                await meet(squatter, stream)
            stream.close()
            await stream.until_closed()

        def accept(proven: ProvenPeer) -> ExactStream:
            stream = ExactStream(GREETING_SIZE + PROOF_SIZE)
            running.append(tasks.create_task(serve(stream)))
            return stream

        port.register(code.keys, accept)
        yield squatter
        for task in running:
            task.cancel()


async def answer_greeting(squatter: Squatter, stream: ExactStream) -> SenderPake:
    """Exchange greetings as a sender that guesses other words."""
    pake = SenderPake(WRONG.password, os.urandom)
    squatter.greetings.append(await stream.read(GREETING_SIZE))
    stream.write(pake.message)
    return pake


async def take_proof(squatter: Squatter, stream: ExactStream) -> None:
    """Take a proof, and say nothing."""
    await answer_greeting(squatter, stream)
    squatter.proofs.append(await stream.read(PROOF_SIZE))


async def answer_without_proof(squatter: Squatter, stream: ExactStream) -> None:
    """Take a proof, and claim to send the link."""
    await take_proof(squatter, stream)
    stream.write(b"\x01" + os.urandom(VERDICT_SIZE - 1))
    await stream.until_closed()


async def refuse(squatter: Squatter, stream: ExactStream) -> None:
    """Take a proof, and say that it is wrong and the last one."""
    await take_proof(squatter, stream)
    stream.write(bytes(VERDICT_SIZE))
    await stream.until_closed()


async def say_nothing(squatter: Squatter, stream: ExactStream) -> None:
    """Keep the connection open."""
    await stream.until_closed()
