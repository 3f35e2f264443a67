"""Offer a link under a code until it is used, guessed wrongly too often, or too old.

An `OfferedCode` registers the number and the first word of its code at the port of the
node, like a share, and is announced under their topics. So a connection gets no byte
from it unless the client knows both; what it then says is decided by a `CodeOffer`.
docs/protocol.md, "Codes".
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import aclosing
from typing import TYPE_CHECKING

from shoal.codes.at_relays import wait_at_relays
from shoal.codes.exact_stream import ExactStream
from shoal.core.crypto.pake import PROOF_SIZE
from shoal.core.host_limits import HostLimit
from shoal.core.limits import LeakyBucket
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, host_key, scope_of
from shoal.core.names.code import Code, make_code
from shoal.core.places import first_of_crowd
from shoal.core.report.events import CodeChanged, ShareEvent
from shoal.core.session.code_exchange import GREETING_SIZE, CodeOffer, SenderExchange
from shoal.errors import PeerError
from shoal.resources import Resources
from shoal.transfer.dialler import Dialler
from shoal.transport.sealed.proven import ProvenPeer

if TYPE_CHECKING:
    from shoal.transport.sealed.port import Port

__all__ = ["CODE_TIME", "EXCHANGE_TIME", "MAX_EXCHANGES", "OfferedCode", "offer_code"]

CODE_TIME = 600.0  # seconds for which a code is valid
EXCHANGE_TIME = 15.0  # seconds for one connection, from the handshake on
# One of the host with the most gives way to a new one.
MAX_EXCHANGES = 64  # connections at once
# An exchange without a proof costs 4 ms of work. So one host can take a small part of
# what all have, and keeps no receiver out.
EXCHANGE_BURST = 64.0  # connections at once
EXCHANGE_RATE = 24.0  # connections per second
HOST_BURST = 16.0  # connections of one host at once
HOST_RATE = 1.0  # connections of one host per second
SENT_TIME = 2.0  # seconds for a verdict to be sent before the connection is cut


def offer_code(
    resources: Resources,
    port: "Port",
    link: str,
    *,
    receivers: int,
    seconds: float | None,
    on_event: Callable[[ShareEvent], None],
    until_left: Callable[[], Awaitable[object]],
) -> Code:
    """Offer `link` under a new code, and return the code at once.

    It ends as soon as that many receivers have the link, after three wrong guesses,
    after `seconds` (by default 10 minutes), when `until_left` returns or when the node
    closes. `on_event` is called with each change. Raises `UsageError` if the link is
    too long.
    """
    offered = OfferedCode(resources, port, _new_code(port), link, receivers, on_event)
    offered.register()
    resources.own_task(offered.run(seconds or CODE_TIME, until_left))
    return offered.code


def _new_code(port: "Port") -> Code:
    """Return a code that meets where no other code of this node does."""
    while port.is_registered((code := make_code(os.urandom)).keys):
        pass
    return code


class OfferedCode:
    """One code at the port of a node."""

    def __init__(
        self,
        resources: Resources,
        port: "Port",
        code: Code,
        link: str,
        receivers: int,
        on_event: Callable[[ShareEvent], None],
    ) -> None:
        """Prepare; `register` and `run` follow."""
        self.code = code
        self._resources = resources
        self._port = port
        self._keys = code.keys
        self._offer = CodeOffer(code, link, receivers=receivers, entropy=os.urandom)
        self._offer.prepare()
        self._on_event = on_event
        self._changed = asyncio.Event()
        self._begun = LeakyBucket(EXCHANGE_RATE)
        self._begun_by = HostLimit(HOST_BURST, HOST_RATE)
        self._tasks: dict[asyncio.Task[None], Hashable] = {}  # the oldest first
        self._group: asyncio.TaskGroup | None = None

    def register(self) -> None:
        """Accept connections of nodes that know the number and the first word.

        Raises `UsageError` if a code of this node meets there already.
        """
        self._port.register(self._keys, self._accept, is_counted=False)

    async def run(
        self, seconds: float, until_left: Callable[[], Awaitable[object]]
    ) -> None:
        """Answer until the code is over, `until_left` returns, or after `seconds`.

        An error of `until_left` is not raised: those that wait for the share get it.
        """
        left = asyncio.ensure_future(until_left())
        left.add_done_callback(lambda _: self._changed.set())
        try:
            async with asyncio.TaskGroup() as self._group:
                found = self._resources.join_all(
                    self._keys, self._port.port, lambda: False
                )
                dialler = Dialler(
                    self._dial, lambda: 0, self._resources.rng, self._resources.dials
                )
                far = [_on_the_internet(each) for each in found]
                at_relays = wait_at_relays(self._resources, self._meet)
                reaching = (
                    self._group.create_task(dialler.run(far)),
                    self._group.create_task(at_relays),
                )
                try:
                    async with asyncio.timeout(seconds):
                        await self._until_over(left)
                except TimeoutError:
                    self._report("expired")
                # From here on only the exchanges that have begun are left.
                self._port.unregister(self._keys, self._accept)
                self._offer.end()
                for task in reaching:
                    task.cancel()
        finally:
            self._port.unregister(self._keys, self._accept)
            left.cancel()
            await asyncio.wait([left])
            if not left.cancelled():
                left.exception()

    async def _until_over(self, left: "asyncio.Future[object]") -> None:
        while not self._offer.is_over and not left.done():
            self._changed.clear()
            await self._changed.wait()

    async def _dial(self, address: Address, source: str) -> None:
        """Meet a receiver that dials us, too; raises `PeerError`.

        One that does not dial at this moment hangs up, but can connect from then on:
        our NAT has seen a packet leave for it.
        """
        await self._port.dialler(self._keys)(address, self._accept)

    async def _meet(self, relay: Address) -> bool:
        """Meet a receiver at a relay, and return True; raises `PeerError`."""
        await self._port.meet(relay, self._keys, self._accept, lambda: None)
        return True

    def _accept(self, proven: ProvenPeer) -> ExactStream:
        """Return the protocol of a new connection; raises `PeerError`."""
        now, host = asyncio.get_running_loop().time(), proven.address.host
        self._begun.leak(now)
        if self._group is None or self._offer.is_over:
            raise PeerError("the code is no longer valid")
        # A connection that is refused for its host takes nothing from others.
        is_full = self._begun.level > EXCHANGE_BURST - 1
        if is_full or not self._begun_by.admits(host, now):
            raise PeerError("too many connections use the code")
        self._begun.level += 1
        if len(self._tasks) >= MAX_EXCHANGES:
            first_of_crowd(self._tasks, self._tasks.__getitem__).cancel()
        stream = ExactStream(GREETING_SIZE + PROOF_SIZE)
        task = self._group.create_task(self._serve(stream))
        self._tasks[task] = host_key(host)
        task.add_done_callback(self._tasks.pop)
        return stream

    async def _serve(self, stream: ExactStream) -> None:
        """Run the sender's end of one connection, then close it."""
        exchange: SenderExchange | None = None
        try:
            exchange = self._offer.begin()
            async with asyncio.timeout(EXCHANGE_TIME):
                greeting = await stream.read(GREETING_SIZE)
                stream.write(exchange.greeting)
                self._offer.prepare()
                proof = await stream.read(PROOF_SIZE)
                before = self._offer.guesses_left
                stream.write(exchange.answer(greeting, proof))
                if self._offer.guesses_left < before:
                    self._report("wrong" if self._offer.guesses_left else "dead")
                elif exchange.is_given:
                    if exchange.end(await stream.read(PROOF_SIZE)):
                        self._report("used" if self._offer.is_over else "given")
            # The peer closes the connection when it has the verdict.
            async with asyncio.timeout(SENT_TIME):
                stream.close()
                await stream.until_closed()
        except (PeerError, TimeoutError):
            pass  # the code is still offered to others
        finally:
            if exchange is not None:
                exchange.end()
            stream.abort()
            self._changed.set()

    def _report(self, state: str) -> None:
        offer = self._offer
        self._on_event(CodeChanged(state, offer.guesses_left, offer.receivers_left))


async def _on_the_internet(
    found: AsyncGenerator[tuple[Address, str], None],
) -> AsyncGenerator[tuple[Address, str], None]:
    """Stay announced, and yield the addresses that a NAT may keep from dialling us."""
    async with aclosing(found) as addresses:
        async for address, source in addresses:
            if scope_of(address.host) is Scope.GLOBAL:
                yield address, source
