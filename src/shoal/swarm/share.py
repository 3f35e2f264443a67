"""A sealed share that a node serves, as its user sees it."""

from collections.abc import Callable

from shoal.core.manifest.manifest import Manifest
from shoal.core.names.link import Link
from shoal.core.report.events import ShareEvent
from shoal.core.report.status import PeerStatus
from shoal.core.report.units import format_size
from shoal.storage.shared.shared_files import SharedFiles
from shoal.swarm.member import Member, Registry, ServedShare

__all__ = ["DRAIN_TIME", "SealedShare", "become_share", "serve_share"]

DRAIN_TIME = 10.0  # seconds to send peers the chunks that they still wait for


class SealedShare:
    """A sealed share whose swarm the node is in until it is left or the node closes.

    Sharing the same content twice gives two objects for one membership in the swarm,
    which ends when both are left.
    """

    def __init__(self, registry: Registry, served: ServedShare) -> None:
        """Stand for a share that the node serves."""
        self.manifest = served.manifest
        """The description of the share."""
        self.link = served.member.link
        """The link that other machines pass to `get`; a `str`."""
        self.port = served.member.port
        """TCP port that this node is reached at."""
        self.code: str | None = None
        """The code that others can get the link with, if there is one."""
        self._registry = registry
        self._served = served
        self._is_left = False
        served.handles += 1

    def __repr__(self) -> str:
        root, state = self.manifest.root, "left" if self._is_left else "served"
        name = f"{root.name!r} ({format_size(root.size)})"
        return f"<SealedShare of {name}, {state} on port {self.port}>"

    @property
    def uploaded(self) -> int:
        """Return how many bytes of chunks were sent to peers."""
        return self._served.member.swarm.uploaded

    @property
    def completed(self) -> int:
        """Return how many peers have, or had, a whole copy."""
        return len(self._served.member.swarm.completed)

    @property
    def peer_count(self) -> int:
        """Return how many peers are connected."""
        return len(self._served.member.swarm.peers)

    @property
    def peers(self) -> tuple[PeerStatus, ...]:
        """Return the connected peers, with what each has and what it was sent."""
        return tuple(peer.status() for peer in self._served.member.swarm.peers)

    async def shared(self, count: int = 1) -> None:
        """Wait until `count` peers have a whole copy that survives a power loss.

        `await share.shared()`. Raises the error if the swarm fails.
        """
        await self._served.member.swarm.completed.until(count)

    async def until_left(self) -> None:
        """Wait until the node leaves this share; raise the error if the swarm fails."""
        await self._served.member.until_left()

    async def leave(self) -> None:
        """Send the chunks that peers wait for, then leave the swarm; idempotent.

        The files are closed, unless another object stands for the same share.
        """
        if self._is_left:
            return
        self._is_left = True
        self._served.handles -= 1
        if not self._served.handles:
            self._registry.served.pop(self.link.id, None)
            # From now on the same share can start again.
            self._served.member.give_way()
            await self._registry.note_served(self.link.id, None)
            await self._served.member.swarm.drain(DRAIN_TIME)
            await self._served.close()


async def serve_share(
    registry: Registry,
    link: Link,
    manifest: Manifest,
    source: SharedFiles,
    on_event: Callable[[ShareEvent], None] = lambda event: None,
) -> SealedShare:
    """Serve files of the user from now on, until the node leaves the share.

    If the node serves the same share already, `source` is closed.
    """
    served = registry.served.get(manifest.id)
    if served is not None:
        source.close()
        return SealedShare(registry, served)
    release = registry.resources.own_source(source)
    try:
        member = Member(registry, link, await registry.port(), on_event=on_event)
        # `shoal seed` of this user may serve it already, and is no receiver.
        member.swarm.completed.ignore(await registry.serving_nodes(manifest.id))
        member.swarm.serve(manifest, source)
        member.swarm.finish()
        await member.__aenter__()
    except BaseException:
        release()
        raise
    member.hold(manifest, source)
    return become_share(registry, member, manifest, release)


def become_share(
    registry: Registry, member: Member, manifest: Manifest, release: Callable[[], None]
) -> SealedShare:
    """Return the first object for a share; `release` closes its files."""

    async def close() -> None:
        disown()
        await member.aclose()
        release()

    disown = registry.resources.own(member.aclose)
    served = registry.served[member.link.id] = ServedShare(manifest, member, close)
    return SealedShare(registry, served)
