"""Report what a command serves: in the live line, and to programs as JSON lines."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from shoal.cli.output import Output
from shoal.cli.status import Fact, Status
from shoal.core.report.rate import RateMeter
from shoal.core.report.units import format_count, format_size

if TYPE_CHECKING:
    from shoal.channel.operations import OpenShare
    from shoal.node.node import Node
    from shoal.swarm.share import SealedShare

__all__ = ["report_until_cancelled"]

REPORT_PERIOD = 1.0  # seconds between looks for problems and uploads


async def report_until_cancelled(
    node: "Node",
    output: Output,
    shares: "Sequence[OpenShare | SealedShare]" = (),
    title: str = "",
    link_of: "Callable[[SealedShare], str] | None" = None,
) -> None:
    """Report problems, and the uploads of these shares, until cancelled.

    With `link_of`, the JSON lines name the share that each is about.

    The sequence may grow and shrink meanwhile; then the caller waits for the new ones.

    Raises a group with a share's error if it fails.
    """
    report = _Report(node, output, shares, title, link_of)
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(report.run())
            for share in shares:
                tasks.create_task(share.until_left())
    finally:
        output.line.clear()


class _Report:
    """Look at the shares of a node every `REPORT_PERIOD`."""

    def __init__(
        self,
        node: "Node",
        output: Output,
        shares: "Sequence[OpenShare | SealedShare]",
        title: str,
        link_of: "Callable[[SealedShare], str] | None" = None,
    ) -> None:
        self._node = node
        self._output = output
        self._shares = shares
        self._title = title
        self._link_of = link_of
        self._reported = 0  # bytes
        # By its key, what each peer has and was sent when it was last reported. A node
        # may be a peer of several shares, with one address.
        self._peers: dict[int, tuple[int, int]] = {}

    async def run(self) -> None:
        now = asyncio.get_running_loop().time
        meter = RateMeter(now(), self._uploaded)
        while True:
            if self._shares:
                self._show(meter.rate(now(), self._uploaded))
            await asyncio.sleep(REPORT_PERIOD)
            for problem in self._node.problems():
                self._output.problem(problem)
            self._report_uploads()

    @property
    def _uploaded(self) -> int:
        return sum(share.uploaded for share in self._shares)

    def _show(self, rate: float) -> None:
        peers = sum(share.peer_count for share in self._shares)
        facts = [
            Fact(1, format_count(peers, "peer")),
            Fact(2, f"{format_size(max(rate, 0.0))}/s"),
        ]
        if not peers and not self._uploaded:
            facts = [Fact(1, "waiting for peers")]
        completed = sum(share.completed for share in self._shares)
        if completed:
            verb = "has" if completed == 1 else "have"
            facts.append(Fact(3, f"{completed:,} {verb} everything"))
        if self._uploaded:
            facts.append(Fact(4, f"{format_size(self._uploaded)} sent"))
        title = self._title or format_count(len(self._shares), "share")
        self._output.line.show(Status(title, tuple(facts), is_logged=False))

    def _report_uploads(self) -> None:
        """Write the JSON lines for what was uploaded since the last ones."""
        if not self._output.as_json:
            return
        from shoal.swarm.share import SealedShare

        before, self._peers = self._peers, {}
        for share in self._shares:
            if not isinstance(share, SealedShare):
                continue  # clients of a channel do not announce what they have
            for peer in share.peers:
                has = share.manifest.chunks.size_of(peer.has)
                self._peers[peer.key] = now = has, peer.sent
                if before.get(peer.key, (0, 0)) != now:
                    named = {"link": self._link_of(share)} if self._link_of else {}
                    self._output.event(
                        "peer",
                        address=peer.address,
                        state="connected",
                        has=has,
                        uploaded=peer.sent,
                        **named,
                    )
        if self._uploaded != self._reported:
            self._reported = self._uploaded
            self._output.event("progress", uploaded=self._reported)
