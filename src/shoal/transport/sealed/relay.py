"""Meet a peer at a transit relay, which joins two connections with the same token.

It is that of magic-wormhole, which anyone can run. Each of the two ends connects, sends
one line with a token and a side, and gets `ok` when the other end is there; from then
on the relay passes bytes on. docs/protocol.md, "Relays".
"""

import asyncio
import hashlib
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random
from typing import cast

from shoal.core.crypto.keys import Keys
from shoal.core.names.address import Address
from shoal.core.report.events import Notice
from shoal.errors import PeerError, RelayError

__all__ = ["RELAY_OK", "AtRelay", "direct_time", "meet_again", "relay_request"]

SIDE_SIZE = 8  # bytes, written as 16 hex digits
DIRECT_TIME = 5.0  # seconds in which a node tries to do without a relay
# A NAT forgets an idle connection, the strictest after a few minutes.
PROBE_AFTER = 60  # seconds of silence until the kernel sends a keepalive probe
RELAY_OK = b"ok\n"
"""What a relay sends once the other end is there."""


def direct_time(timeout: float | None) -> float:
    """Return for how many seconds to do without a relay, if we give up after `timeout`.

    A relay costs those who run it, so other ways come first; but half of the time is
    left for it.
    """
    return DIRECT_TIME if timeout is None else min(DIRECT_TIME, timeout / 2)


def relay_request(keys: Keys, name: bytes) -> bytes:
    """Return the line by which a node waits at a relay for another holder of a share.

    The relay joins ends with different sides only. The side is a one-way function of
    `name`: the node id, so that a node does not meet itself, or what several nodes have
    in common that must not meet.
    """
    side = hashlib.sha256(keys.relay_token + name).digest()[:SIDE_SIZE]
    return f"please relay {keys.relay_token.hex()} for side {side.hex()}\n".encode()


async def meet_again(
    relay: Address,
    meet: Callable[[], Awaitable[bool]],
    pauses: tuple[float, float],
    rng: Random,
    on_notice: Callable[[Notice], None],
) -> None:
    """Meet other ends at a relay, one after another until cancelled.

    Unless `meet` returns True, a pause follows: of the first of `pauses`, in seconds,
    and then of a random time between that and a limit, which doubles up to the second.
    A relay that fails is told to `on_notice`.
    """
    first, most = pauses
    limit = first
    while True:
        try:
            if await meet():
                limit = first
                continue
        except RelayError as error:
            on_notice(
                Notice(f"The relay {relay} cannot be used: {error}. Trying again.")
            )
        except PeerError:
            pass  # a stranger, or a node that we have met already
        await asyncio.sleep(rng.uniform(first, limit))
        limit = min(2 * limit, most)


class AtRelay(asyncio.BufferedProtocol):
    """Wait at a relay until the other end is there; read no byte after that."""

    def __init__(
        self, request: bytes, on_met: Callable[[asyncio.Transport], None]
    ) -> None:
        """Send `request`; `on_met` has to set the transport's next protocol."""
        self.met: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the other end is there; or with a `PeerError`."""
        self._request = request
        self._on_met = on_met
        self._answer = bytearray(len(RELAY_OK))
        self._received = 0  # bytes of it
        self._transport: asyncio.Transport | None = None

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask to be joined."""
        # uvloop's transport is not a subclass, but has the same methods.
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        with suppress(OSError, AttributeError):  # it has ended, or another system
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER)
        self._transport.write(self._request)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return room for the rest of the relay's answer and nothing after it."""
        return memoryview(self._answer)[self._received :]

    def buffer_updated(self, nbytes: int) -> None:
        """Pass the connection on once the relay has joined it."""
        self._received += nbytes
        if self._answer[: self._received] != RELAY_OK[: self._received]:
            self._fail("refuses: it does not seem to be a transit relay")
        elif self._received == len(RELAY_OK) and not self.met.done():
            assert self._transport is not None
            self.met.set_result(None)
            self._on_met(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Report that the relay has ended the connection."""
        self._fail("has ended the connection")

    def _fail(self, what: str) -> None:
        self.abort()
        if not self.met.done():
            self.met.set_exception(PeerError(f"the relay {what}"))
