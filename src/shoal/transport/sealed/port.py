"""The one port of a node that all its sealed shares are reached at.

`SealedPort` owns the listener, this process's node id and its throw-away
certificates, and dials with them, so that a node which finds itself notices. When
the machine's addresses change it shows a new certificate: nobody who saw the old one
can tell that the node at the new address is the same.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from shoal.core.crypto.keys import Keys
from shoal.core.crypto.proof import NODE_ID_SIZE
from shoal.core.names.address import Address
from shoal.errors import UsageError
from shoal.net.interfaces import list_interfaces
from shoal.transport.sealed.dial import dial_sealed
from shoal.transport.sealed.listen import SealedListener
from shoal.transport.sealed.proven import Dial, Factory
from shoal.transport.tls.certificate import Certificates

__all__ = ["SealedPort", "own_addresses"]


class _Owner(NamedTuple):
    """Say for whom holders of a share are let in."""

    factory: Factory
    yields: bool


class SealedPort:
    """Let holders of our shares in, and reach others; open it with `open`."""

    def __init__(
        self, listener: SealedListener, node_id: bytes, certificates: Certificates
    ) -> None:
        """Take over `listener`; use `open`."""
        self.port = listener.port
        """TCP port that others may dial."""
        self._listener = listener
        self.node_id = node_id
        """16 random bytes, new in every process."""
        self._certificates = certificates
        self._owners: dict[bytes, _Owner] = {}  # by knock

    @classmethod
    async def open(
        cls,
        hosts: Sequence[str],
        port: int,
        *,
        addresses: Callable[[], frozenset[str]] | None = None,
    ) -> "SealedPort":
        """Listen at `port` of all `hosts`; raises `NetworkError`.

        `addresses` returns those of this machine.
        """
        node_id = os.urandom(NODE_ID_SIZE)
        certificates = Certificates(
            asyncio.get_running_loop().time, addresses or own_addresses
        )
        listener = await SealedListener.open(
            node_id, certificates, hosts=hosts, port=port
        )
        return cls(listener, node_id, certificates)

    def let_in(self, keys: Keys, factory: Factory, *, yields: bool = False) -> None:
        """Accept holders of a share from now on; raises `UsageError`.

        Who `yields` does so only while nobody else of this node does: it can do
        without, since it dials others itself.
        """
        owner = self._owners.get(keys.knock)
        if owner is not None and owner.yields and not yields:
            self._listener.unregister(keys.knock)
        try:
            self._listener.register(keys.knock, keys, factory)
        except UsageError:
            if not yields:
                raise
        else:
            self._owners[keys.knock] = _Owner(factory, yields)

    def keep_out(self, keys: Keys, factory: Factory) -> None:
        """Accept no more holders of a share for whom `factory` made connections."""
        owner = self._owners.get(keys.knock)
        if owner is not None and owner.factory == factory:
            del self._owners[keys.knock]
            self._listener.unregister(keys.knock)

    def dialler(self, keys: Keys) -> Dial:
        """Return what connects to other holders of a share."""

        async def dial(address: Address, factory: Factory) -> None:
            await dial_sealed(
                address,
                keys,
                self.node_id,
                factory,
                own_certificates=self._certificates,
            )

        return dial

    async def aclose(self) -> None:
        """Let nobody in any more; idempotent."""
        await self._listener.aclose()


def own_addresses() -> frozenset[str]:
    """Return every address of this machine; none where the system does not tell."""
    try:
        return frozenset(each.address for each in list_interfaces())
    except OSError:
        return frozenset()
