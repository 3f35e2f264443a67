"""This node's part in the swarms of sealed shares, from joining to leaving.

`Registry` knows every sealed share of a node, and owns the port that they all use,
which is opened when the first share needs it. A `Member` is announced on each network
under the topic that the network has for the share. Whether it uploads, downloads or
only reads the manifest is decided by the user of its `swarm`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from msgspec.structs import replace

from shoal.config.settings import Settings
from shoal.core.manifest.manifest import Manifest, Missing
from shoal.core.names.address import Address
from shoal.core.names.address_scope import MIN_PORT, Scope, scope_of
from shoal.core.names.link import Link
from shoal.core.report.events import DownloadEvent
from shoal.core.report.stall import Search
from shoal.core.report.status import ShareStatus
from shoal.errors import PeerError, ShoalError, first_error
from shoal.net.interfaces import list_interfaces
from shoal.net.resolver import look_up
from shoal.net.socket_names import host_of
from shoal.origin.readers import open_readers
from shoal.resources import Resources
from shoal.storage.catalogue_entry import Made
from shoal.storage.store import ChunkReader
from shoal.swarm.copies import Holding
from shoal.swarm.swarm import Swarm
from shoal.transfer.dialler import Found
from shoal.transport.sealed.proven import Factory

if TYPE_CHECKING:
    from shoal.swarm.relays import Relays
    from shoal.transport.sealed.port import Port

__all__ = ["Member", "Registry", "ServedShare"]

LOOKUP_TIME = 5.0  # seconds to resolve a name in a link


class ServedShare:
    """A share that this node serves, for all the handles that its user has."""

    def __init__(
        self, manifest: Manifest, member: "Member", close: Callable[[], Awaitable[None]]
    ) -> None:
        """Serve with `member`; `close` leaves the swarm and closes the files."""
        self.manifest = manifest
        self.member = member
        self.close = close
        self.handles = 0
        """How many `SealedShare` objects of the user stand for it."""


class Turn:
    """The fetches of one share on this node, of which one runs at a time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        """How many fetches run or wait."""
        self.open_result: Callable[[], Holding] | None = None
        """Opens what the last fetch has made; blocks. None if it has failed."""


class Registry:
    """Know every sealed share that this node shares or fetches."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.holdings: dict[bytes, Holding] = {}
        """What is shared or being fetched, by share id."""
        self.copies: dict[bytes, Holding] = {}
        """Copies in the user's catalogue that this node reads, by share id."""
        self.swarms: list[tuple[bytes, Swarm]] = []
        """The swarms that this node is in, each with its share id."""
        self.served: dict[bytes, ServedShare] = {}
        """The shares that this node serves to the end, by share id."""
        self.accepting: dict[bytes, Member] = {}
        """The member that peers of a share are passed to, by share id."""
        self._turns: dict[bytes, Turn] = {}
        self._port: Port | None = None

    async def port(self) -> "Port":
        """Return the node's one port for sealed shares; open it when first used.

        Raises `NetworkError` if it cannot be opened.
        """
        if self._port is None:
            # Imported here, because it imports cryptography, which takes long.
            from shoal.transport.sealed.port import Port

            resources = self.resources
            hosts = resources.networks.hosts()
            self._port = Port(hosts, resources.settings.port, resources.threads)
            resources.own(self._port.aclose)
            resources.networks.keep_listening(self._port.listen_on, self._hang_up)
            resources.networks.map_port(self._port.port)
            self._port.number = resources.networks.outside_port
            resources.networks.lend_udp(self._port)
        return self._port

    def _hang_up(self, addresses: frozenset[str]) -> None:
        """Close the connections of addresses that this machine does not have."""
        for _, swarm in self.swarms:
            for peer in swarm.peers:
                host = peer.connection.local_address.host
                if host and host not in addresses:
                    peer.close(PeerError(f"{host} is no address of this machine now"))

    async def remembered(self, share_id: bytes, missing: Missing) -> Manifest | None:
        """Return the manifest of a share in the user's catalogue, or None.

        It has all pages that `missing` could return for it.
        """
        catalogue = self.resources.catalogue
        if catalogue is not None:
            find = partial(catalogue.find, share_id)
            for entry in await self.resources.in_thread(find):
                manifest = entry.manifest
                if not any(True for _ in missing(manifest)):
                    return manifest
        return None

    async def remember(
        self, link: Link, path: Path, manifest: Manifest, made: Made
    ) -> None:
        """Add a copy to the user's catalogue, if that can be written."""
        catalogue = self.resources.catalogue
        if catalogue is not None:
            # Once an entry has the manifest, the rest of it can be found out again.
            flush = not made.is_complete
            add = partial(catalogue.add, link, path, manifest, made, flush=flush)
            with suppress(ShoalError):
                await self.resources.in_thread(add)

    async def note_served(self, share_id: bytes, path: Path | None) -> None:
        """Note in the user's catalogue that a copy is served; without a path, left."""
        catalogue = self.resources.catalogue
        if catalogue is not None and not self.resources.is_stopped:
            with suppress(ShoalError):
                if path is None:
                    left = partial(catalogue.mark_left, share_id)
                    await self.resources.in_thread(left)
                else:
                    node_id = (await self.port()).node_id
                    mark = partial(catalogue.mark_served, share_id, path, node_id)
                    await self.resources.in_thread(mark)

    async def serving_nodes(self, share_id: bytes) -> set[bytes]:
        """Return the ids of this user's nodes that serve a share already."""
        catalogue = self.resources.catalogue
        if catalogue is not None:
            with suppress(ShoalError):
                find = partial(catalogue.serving_nodes, share_id)
                return await self.resources.in_thread(find)
        return set()

    @asynccontextmanager
    async def turn(self, share_id: bytes) -> AsyncIterator[Turn]:
        """Let one fetch of a share run at a time; the next can use its result."""
        turn = self._turns.setdefault(share_id, Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield turn
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[share_id]

    def status(self, share_id: bytes, reading: frozenset[int]) -> ShareStatus:
        """Return the state of a share, in all of its swarms and stores together.

        `reading` are the chunks that its readers wait for, or read last.
        """
        swarms = [s.status() for i, s in self.swarms if i == share_id]
        holding = self.holdings.get(share_id) or self.copies.get(share_id)
        known = [s for s in swarms if s.have is not None] or swarms
        return ShareStatus(
            holding.manifest
            if holding
            else next((s.manifest for s in known if s.manifest is not None), None),
            holding.store.have if holding else next((s.have for s in known), None),
            frozenset[int]().union(*(s.requested for s in swarms)),
            reading,
            tuple(peer for s in swarms for peer in s.peers),
            self.resources.networks.mappings,
        )


class Member:
    """Be in the swarm of one share; an async context manager."""

    def __init__(
        self,
        registry: Registry,
        link: Link,
        port: "Port",
        *,
        timeout: float | None = None,
        on_event: Callable[[DownloadEvent], None] = lambda event: None,
        yields: bool = False,
        is_counted: bool = True,
    ) -> None:
        """Prepare; a member that `yields` leaves peers that dial us to another one.

        With `is_counted` it counts among the shares of the node, which are limited.
        """
        self._is_counted = is_counted
        self.link = link
        self.port = port.port
        """TCP port that this node is reached at."""
        self._registry = registry
        self._resources = registry.resources
        self._keys = link.keys
        self._sealed_port = port
        self._yields = yields
        self.swarm = Swarm(
            link.id,
            port.dialler(self._keys),
            registry.resources,
            node_id=port.node_id,
            port=port.port,
            sources=open_readers(link, registry.resources.settings),
            timeout=timeout,
            on_event=on_event,
            search=self._search,
        )
        # Readers wait for each read as long as the settings say.
        self._timeout = timeout or self._resources.settings.timeout
        self._relays: Relays | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._yields:
            self._sealed_port.register(
                self._keys, self.swarm.accept, yields=True, is_counted=False
            )
        else:
            self.take_over()
        self._registry.swarms.append((self.link.id, self.swarm))
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def until_left(self) -> None:
        """Wait until the swarm is left; raise the error if it fails before."""
        task = self._task
        if task is not None:
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def aclose(self) -> None:
        """Leave the swarm; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            self._sealed_port.unregister(self._keys, self.swarm.accept)
            self._registry.swarms.remove((self.link.id, self.swarm))
            self.give_way()
            try:
                await self.swarm.leave()
            finally:
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    task.exception()  # every caller that waited has had it

    def take_over(self) -> None:
        """Accept the peers that dial us, instead of another member of this node.

        Raises `UsageError` if the node offers too many shares.
        """
        other = self._registry.accepting.get(self.link.id)
        if other is self:
            return
        if other is not None:
            other.give_way()
        self._sealed_port.register(
            self._keys, self.swarm.accept, is_counted=self._is_counted
        )
        self._registry.accepting[self.link.id] = self
        self._yields = False

    def give_way(self) -> None:
        """Leave new peers, and readers on this node, to another member; idempotent.

        Connections that exist stay.
        """
        self._yields = True
        if self._registry.accepting.get(self.link.id) is self:
            del self._registry.accepting[self.link.id]
            self._sealed_port.unregister(self._keys, self.swarm.accept)
            self._registry.holdings.pop(self.link.id, None)

    def hold(self, manifest: Manifest, store: ChunkReader) -> None:
        """Let readers on this node use the chunks in `store`, until we leave."""
        if self._yields:
            return  # the member that accepts peers has all that we have
        self._registry.holdings[self.link.id] = Holding(manifest, store)

    async def _run(self) -> None:
        """Be in the swarm, and wait at relays if there are any, until cancelled."""
        settings, hints = self._resources.settings, self.link.relays
        if not settings.relays and not hints:
            await self.swarm.run(self._find())
            return
        from shoal.swarm.relays import Relays

        port, keys = self._sealed_port, self._keys

        async def meet(
            relay: Address, factory: Factory, on_met: Callable[[], None]
        ) -> None:
            await port.meet(relay, keys, factory, on_met)

        resources = self._resources
        self._relays = relays = Relays(
            self.swarm, meet, resources.rng, resources.on_notice, self._timeout
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.swarm.run(self._find()))
                tasks.create_task(relays.run(usable_relays(hints, settings)))
        except BaseExceptionGroup as group:
            raise first_error(group) from None

    def _search(self) -> Search:
        """Return the state of the search for peers."""
        tried = () if self._relays is None else tuple(map(str, self._relays.tried))
        return replace(self._resources.networks.search(), relays=tried)

    def _find(self) -> Iterable[Found]:
        yield usable_hints(self.link.hints, self._resources.settings)
        yield from self._resources.join_all(
            self._keys, self.port, lambda: not self.swarm.is_complete
        )


async def usable_relays(
    hints: Iterable[Address], settings: Settings
) -> AsyncGenerator[tuple[Address, str], None]:
    """Yield the relays that the user names, and those in the link that may be used."""
    for relay in settings.relays:
        yield relay, "peer"
    async for relay, source in usable_hints(hints, settings):
        if relay not in settings.relays:
            yield relay, source


async def usable_hints(
    hints: Iterable[Address], settings: Settings
) -> AsyncGenerator[tuple[Address, str], None]:
    """Yield the addresses in a link that may be dialled, each with the source `hint`.

    The author of a link chose them and could point a crowd at any host. So only
    ordinary addresses are dialled, checked after names are resolved; and where the
    user restricts the networks, these restrictions hold and no name is resolved.
    """
    for hint in hints:
        for address in await _resolve(hint, settings):
            if address.port >= MIN_PORT and is_usable(address.host, settings):
                yield address, "hint"


def is_usable(host: str, settings: Settings) -> bool:
    """Return True if an IP address in a link may be dialled."""
    scope = scope_of(host)
    if scope is Scope.NONE or (scope is Scope.LOOPBACK and not settings.interfaces):
        return False
    if not _is_confined(settings):
        return True
    networks = list_interfaces(settings.interfaces)
    return any(each.is_on_subnet(host) for each in networks)


def _is_confined(settings: Settings) -> bool:
    return settings.lan_only or bool(settings.interfaces)


async def _resolve(hint: Address, settings: Settings) -> list[Address]:
    if scope_of(hint.host) is not Scope.NONE or _is_confined(settings):
        return [hint]
    try:
        async with asyncio.timeout(LOOKUP_TIME):
            found = await look_up(hint.host, hint.port)
    except (OSError, UnicodeError, TimeoutError):
        return []
    return [Address(host_of(each[4]), hint.port) for each in found]
