"""Check which kind of NAT is between this machine and the internet."""

import asyncio
import os
from contextlib import aclosing, suppress
from importlib.util import find_spec

from shoal.config.settings import Settings
from shoal.core.names.address import Address
from shoal.core.outside import NatKind, Outside
from shoal.discovery.base import TOPIC_SIZE
from shoal.discovery.combined import Networks
from shoal.discovery.dht.dual import DualDht
from shoal.doctor.finding import Finding, note, ok
from shoal.net.interfaces import own_addresses

__all__ = ["check_nat", "judge_nat"]

REPORT_TIME = 6.0  # seconds for enough nodes of the DHT to answer
INSTALL_QUIC = "pip install 'shoal[quic]'"
_BY_UDP = (
    "Peers behind NATs connect by UDP if they have QUIC as well "
    f"({INSTALL_QUIC}); shoal does that by itself."
)
_NAME = "nat"


async def check_nat(settings: Settings, timeout: float = REPORT_TIME) -> list[Finding]:
    """Ask nodes of the DHT at which address they see this machine."""
    if settings.lan_only:
        return [ok(_NAME, "Not checked, because of --lan-only.")]
    outside, own = Outside(), own_addresses()
    is_known = asyncio.Event()

    def on_seen(node: str, seen: Address, port: int) -> None:
        outside.on_node(node, seen, port)
        if outside.kind(own) is not NatKind.UNKNOWN:
            is_known.set()

    hosts = Networks(settings).hosts()
    dht = DualDht(settings.dht_bootstrap, hosts=hosts, on_seen=on_seen)
    async with aclosing(dht), aclosing(dht.join(os.urandom(TOPIC_SIZE), None)) as found:
        # No peer announces a random topic, so the lookup finds only nodes.
        looking = asyncio.ensure_future(anext(found, None))
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await is_known.wait()
        looking.cancel()
        await asyncio.wait([looking])
    return [judge_nat(outside.kind(own), outside.host)]


def judge_nat(kind: NatKind, host: str | None) -> Finding:
    """Return what a kind of NAT, seen at the address `host`, means to the user."""
    match kind:
        case NatKind.NONE:
            return ok(
                _NAME,
                f"No NAT: this machine has the address {host} on the internet.",
                "If a firewall lets no connection in, peers still connect when both "
                "dial each other; shoal does that by itself.",
            )
        case NatKind.PRESERVING:
            return ok(
                _NAME,
                f"Behind a NAT that keeps ports; seen from the internet as {host}.",
                "Peers behind such NATs connect when both dial each other; shoal does "
                "that by itself.",
            )
        case NatKind.CHANGING:
            return note(
                _NAME,
                f"Behind a NAT that changes ports; seen from the internet as {host}.",
                _BY_UDP
                if find_spec("qh3") is not None
                else "A peer behind another NAT connects only if both have a common "
                f"peer, or QUIC: {INSTALL_QUIC}. A port that the router maps or "
                "forwards helps: see the line of the router. Otherwise both can meet "
                "at a relay: --relay HOST:PORT.",
            )
        case NatKind.SYMMETRIC:
            return note(
                _NAME,
                "Behind a NAT that draws a new port for each connection; seen from the "
                f"internet as {host}.",
                "This machine connects only with peers that can be dialled. A port "
                "that the router maps or forwards helps: see the line of the router. "
                "Otherwise both can meet at a relay: --relay HOST:PORT.",
            )
        case NatKind.UNKNOWN:
            return note(
                _NAME,
                "How this machine looks from the internet is unknown: too few nodes "
                "of the DHT have reported its address.",
                "Run shoal doctor again; if the DHT cannot be reached, the line above "
                "says why.",
            )
