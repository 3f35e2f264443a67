"""Attacks on a sharer that offers a code, by nodes that know where its receivers meet.

Each attack is a coroutine that takes the code and the address of the sharer, and may
run several times. `run.py` checks that the share is fetched by its link meanwhile.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random

from shoal.codes.exact_stream import ExactStream
from shoal.core.limits import MAX_GUESSES
from shoal.core.names.address import Address
from shoal.core.names.code import Code
from shoal.core.names.code_words import WORDS
from shoal.core.session.code_exchange import (
    GREETING_SIZE,
    VERDICT_SIZE,
    ReceiverExchange,
)
from shoal.errors import PeerError
from tests.helpers.codes import dial, dialled, guess
from tests.helpers.relay import PlainRelay
from tests.helpers.sealed import answer_to

__all__ = ["CODES"]

GUESSES = 100  # connections with a wrong code
SILENT = 200  # connections that say nothing after the handshake
PATIENCE = 5.0  # seconds for the sharer to close a connection


async def code_guesses(code: Code, address: Address) -> None:
    """Guess at random; three guesses are answered, with nothing but zeros."""
    rng = Random(1)
    verdicts = []
    for _ in range(GUESSES):
        words = (code.words[0], rng.choice(WORDS), rng.choice(WORDS))
        verdicts.append(await guess(code._replace(words=words), address))
    answered = [verdict for verdict in verdicts if verdict]
    assert len(answered) <= MAX_GUESSES, f"{len(answered)} guesses were answered"
    assert not any(verdict[0] or any(verdict[2:]) for verdict in answered)


async def code_flood(code: Code, address: Address) -> None:
    """Open many connections at the rendezvous, greet, and prove nothing."""
    streams: list[ExactStream] = []
    try:
        for _ in range(SILENT):
            with suppress(PeerError):
                streams.append(await dial(code, address))
                streams[-1].write(os.urandom(GREETING_SIZE))
        await asyncio.sleep(1)
    finally:
        for stream in streams:
            stream.abort()


async def code_garbage(code: Code, address: Address) -> None:
    """Send more than an exchange has; each connection is closed."""
    for size in (65, 66, 8192, 100_000):
        with suppress(PeerError):
            async with asyncio.timeout(PATIENCE), dialled(code, address) as stream:
                stream.write(os.urandom(size))
                await stream.until_closed()


async def code_replay(code: Code, address: Address) -> None:
    """Record a receiver that proves the code and reads nothing, and replay it."""
    async with PlainRelay(address) as relay:
        with suppress(PeerError):
            async with (
                asyncio.timeout(PATIENCE),
                dialled(code, relay.address) as stream,
            ):
                receiver = ReceiverExchange(code, os.urandom)
                stream.write(receiver.greeting)
                stream.write(receiver.prove(await stream.read(GREETING_SIZE)))
                await stream.read(VERDICT_SIZE)
        said = bytes(relay.to_server)
    for _ in range(10):
        assert await answer_to(address, said) == b""


CODES: dict[str, Callable[[Code, Address], Coroutine[None, None, None]]] = {
    each.__name__: each
    for each in (code_guesses, code_flood, code_garbage, code_replay)
}
"""All attacks, by name."""
