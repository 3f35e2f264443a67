"""The peers of one sealed share that have finished, and the callers that wait.

A peer has finished once its copy is whole and survives a power loss (docs/protocol.md,
"Announcements").
"""

from collections.abc import Callable, Iterable

from shoal.core.report.events import DownloadEvent, PeerComplete
from shoal.swarm.peer import Peer
from shoal.transfer.conditions import Conditions

__all__ = ["CompletePeers"]

MAX_COMPLETED = 65_536  # nodes that are counted; each takes some 100 bytes


class CompletePeers:
    """Count the nodes that have finished."""

    def __init__(self, on_event: Callable[[DownloadEvent], None]) -> None:
        """Start with none; `on_event` is called with each."""
        self._nodes: set[bytes] = set()
        self._ignored: set[bytes] = set()
        self._waiting = Conditions()
        self._on_event = on_event

    def __len__(self) -> int:
        return len(self._nodes)

    def ignore(self, nodes: Iterable[bytes]) -> None:
        """Never count these nodes, because they are no receivers."""
        self._ignored.update(nodes)

    def add(self, peer: Peer, size: int) -> None:
        """Count a node that has finished; it has announced `size` bytes.

        It counts once however often it connects. That it has finished is its claim.
        """
        if peer.node_id in self._nodes or peer.node_id in self._ignored:
            return
        if len(self._nodes) >= MAX_COMPLETED:
            return
        self._nodes.add(peer.node_id)
        self._on_event(PeerComplete(peer.address, len(self), size, peer.sent))
        self._waiting.check()

    async def until(self, count: int) -> None:
        """Wait until there are `count`; raise the error if the swarm fails."""
        await self._waiting.wait(lambda: len(self) >= count)

    def fail(self, error: BaseException) -> None:
        """End the waits with an error, now and later."""
        self._waiting.fail(error)
