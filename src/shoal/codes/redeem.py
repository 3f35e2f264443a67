"""Get the link of a code from the node that offers it.

The number and the first word lead to addresses. Anyone can be there: nodes with another
code of that number and word, and attackers. Each node gets at most one proof, because
each could be the true one, for which a wrong proof is a lost guess, or an attacker, for
which any proof is a guess. docs/protocol.md, "Codes".
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from shoal.codes.at_relays import RECEIVERS, wait_at_relays
from shoal.codes.exact_stream import ExactStream
from shoal.core.limits import MAX_GUESSES
from shoal.core.names.address import Address
from shoal.core.names.code import Code
from shoal.core.names.link import MAX_HINTS, Link, parse_link
from shoal.core.report.events import Notice
from shoal.core.session.code_exchange import (
    GREETING_SIZE,
    VERDICT_SIZE,
    Given,
    ReceiverExchange,
    Refused,
)
from shoal.errors import (
    CodeError,
    NotFoundError,
    PeerError,
    PeerTimeoutError,
    ProtocolError,
    ShoalError,
    UsageError,
    first_error,
    option,
)
from shoal.resources import Resources
from shoal.transfer.dialler import Dialler
from shoal.transport.sealed.proven import Factory, ProvenPeer
from shoal.transport.sealed.relay import direct_time

if TYPE_CHECKING:
    from shoal.transport.sealed.port import Port

__all__ = ["EXCHANGE_TIME", "MAX_PROOFS", "SEARCH_TIME", "redeem_code"]

SEARCH_TIME = 60.0  # seconds without the link, unless the user gives another time
EXCHANGE_TIME = 10.0  # seconds for one connection, from the handshake on
MAX_PROOFS = 8  # nodes that get a proof: so many guesses attackers have at most
OTHERS_TIME = 5.0  # seconds for another node to answer after one that refused
RECEIPT_TIME = 2.0  # seconds for the sender to close the connection after the receipt


async def redeem_code(
    resources: Resources, port: "Port", code: Code, timeout: float | None
) -> Link:
    """Return the link, with the address of the node that gave it.

    Raises `CodeError` if the nodes that answer refuse the code, `NotFoundError` if none
    answers in `timeout` seconds (by default a minute).
    """
    async with resources.call():
        redeeming = _Redeeming(resources, port, code)
        try:
            async with asyncio.TaskGroup() as tasks:
                seconds = timeout or SEARCH_TIME
                searching = (
                    tasks.create_task(redeeming.run()),
                    tasks.create_task(redeeming.run_at_relays(seconds)),
                )
                try:
                    return await redeeming.until_given(seconds)
                finally:
                    for task in searching:
                        task.cancel()
        except BaseExceptionGroup as group:
            raise first_error(group) from None


class _Redeeming:
    """Ask the nodes found for the link."""

    def __init__(self, resources: Resources, port: "Port", code: Code) -> None:
        self._resources = resources
        self._code = code
        self._keys = code.keys
        self._port = port
        self._dial = port.dialler(self._keys)
        self._dialler = Dialler(
            self._attempt, lambda: 0, resources.rng, resources.dials
        )
        self._link: Link | None = None
        self._proven: set[bytes] = set()  # node ids that have got a proof
        self._settled: set[Address] = set()  # addresses that are not dialled again
        self._refusals: list[Refused] = []
        self._changed = asyncio.Event()
        self._clock = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Dial the addresses found until cancelled.

        We are announced, so that a sender behind a NAT dials us while we dial it.
        """
        found = self._resources.join_all(
            self._keys, self._port.port, lambda: True, is_quiet=True
        )
        await self._dialler.run(found)

    async def run_at_relays(self, seconds: float) -> None:
        """Wait at the relays of the user, unless the link comes by another way."""
        await asyncio.sleep(direct_time(seconds))
        await wait_at_relays(self._resources, self._meet)

    async def until_given(self, seconds: float) -> Link:
        """Wait for the link; raises as `redeem_code` does."""
        deadline = self._clock() + seconds
        seen = 0
        while self._link is None:
            answers = len(self._refusals) + len(self._proven) // MAX_PROOFS
            if answers > seen:
                seen = answers
                deadline = min(deadline, self._clock() + OTHERS_TIME)
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                raise self._failure(seconds) from None
        return self._link

    async def _attempt(self, address: Address, source: str) -> None:
        """Ask the node at an address; raises `PeerError`."""
        if address in self._settled:
            raise PeerError(f"{address} has answered")
        await self._ask(address, partial(self._dial, address))

    async def _meet(self, relay: Address) -> bool:
        """Ask a node that waits at a relay, and return True; raises `PeerError`."""

        async def meet(factory: Factory) -> None:
            await self._port.meet(
                relay, self._keys, factory, lambda: None, name=RECEIVERS
            )

        await self._ask(relay, meet)
        return True

    async def _ask(
        self, address: Address, connect: Callable[[Factory], Awaitable[object]]
    ) -> None:
        """Ask the node that `connect` leads to; raises `PeerError`."""
        # Made before, so that the time to greet does not depend on the secret.
        exchange = ReceiverExchange(self._code, os.urandom)
        streams: list[tuple[ProvenPeer, ExactStream]] = []

        def accept(proven: ProvenPeer) -> ExactStream:
            if proven.node_id in self._proven:
                self._settled.add(address)
                raise PeerError(f"{address} is a node that has answered")
            streams.append((proven, ExactStream(VERDICT_SIZE)))
            return streams[0][1]

        await connect(accept)
        ((proven, stream),) = streams
        try:
            async with asyncio.timeout(EXCHANGE_TIME):
                await self._run(exchange, address, proven, stream)
        except TimeoutError:
            raise PeerTimeoutError(f"{address} stopped answering") from None
        finally:
            stream.abort()

    async def _run(
        self,
        exchange: ReceiverExchange,
        address: Address,
        proven: ProvenPeer,
        stream: ExactStream,
    ) -> None:
        """Run the receiver's end of one connection."""
        stream.write(exchange.greeting)
        greeting = await stream.read(GREETING_SIZE)
        if proven.node_id in self._proven or len(self._proven) >= MAX_PROOFS:
            raise PeerError(f"{address} gets no proof")
        # From here on, the same node gets no other one, whatever its address.
        self._proven.add(proven.node_id)
        self._settled.add(address)
        self._changed.set()
        stream.write(exchange.prove(greeting))
        verdict = exchange.read(await stream.read(VERDICT_SIZE))
        if isinstance(verdict, Refused):
            self._on_refused(proven, verdict)
            return
        stream.write(verdict.receipt)
        with suppress(TimeoutError):
            async with asyncio.timeout(RECEIPT_TIME):
                await stream.until_closed()
        self._link = _with_hint(verdict, None if proven.is_relayed else address)
        self._changed.set()

    def _on_refused(self, proven: ProvenPeer, refused: Refused) -> None:
        self._refusals.append(refused)
        self._changed.set()
        node = f"A node at the relay {proven.address}"
        node = node if proven.is_relayed else str(proven.address)
        what = "has another receiver" if refused.is_in_use else "refused the code"
        self._resources.on_notice(
            Notice(f"{node} {what}; waiting for another node to answer.")
        )

    def _failure(self, seconds: float) -> ShoalError:
        """Return the error for a search that has found no link."""
        if self._refusals:
            return _refusal(self._refusals[-1])
        if len(self._proven) >= MAX_PROOFS:
            return CodeError(
                f"{MAX_PROOFS} nodes answered for this code, and none has it: "
                "another machine interferes. Ask the sender for the link instead."
            )
        networks = " and ".join(self._resources.networks.search().looked)
        found = len(self._dialler)
        return NotFoundError(
            f"No node that offers this code answered in {seconds:.0f} s"
            + (f" on {networks}" if networks else "")
            + (f" ({found} addresses tried)" if found else "")
            + self._about_relays()
            + ". It may be used or too old, or its number or first word may be "
            "mistyped: ask the sender for a new code, or name the sender's address "
            f"with {option('--peer')}, or a relay on both sides with "
            f"{option('--relay')}."
        )

    def _about_relays(self) -> str:
        relays = " or ".join(map(str, self._resources.settings.relays))
        return f", nor at the relay {relays}" if relays else ""


def _refusal(refused: Refused) -> CodeError:
    if refused.is_in_use:
        return CodeError(
            "Another receiver is using this code; ask the sender for a new one."
        )
    left = refused.guesses_left
    if not left:
        return CodeError(
            "The code is wrong, and has now ended because it was entered wrongly "
            f"{MAX_GUESSES} times; ask the sender for a new one."
        )
    times = "once more" if left == 1 else f"{left} more times"
    return CodeError(
        "The code is wrong; check its last two words with the sender. It can be "
        f"entered wrongly {times} before it ends."
    )


def _with_hint(given: Given, address: Address | None) -> Link:
    """Return the link in a verdict, with the sender's address, if any, to try first.

    Raises `ProtocolError` if it is none.
    """
    try:
        link = parse_link(given.link)
    except UsageError:
        raise ProtocolError("a text that is no link") from None
    hints = dict.fromkeys(link.hints if address is None else (address, *link.hints))
    return Link(link.id, tuple(hints)[:MAX_HINTS], link.origins, link.relays)
