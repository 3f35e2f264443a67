"""The fixes whose faults the simulator must find if they are taken out.

`python -m tests.simulator --without all` shows which seeds fail without each of them,
and docs/reliability.md has what it prints.
"""

from tests.simulator.fixes_network import NETWORK_FIXES
from tests.simulator.without import Edit, Fix

__all__ = ["FIXES"]

_TRANSFER_FIXES = (
    Fix(
        "kept-manifest",
        "the manifest is kept on the disk",
        (Edit("shoal.swarm.target:Target.find_known", "return known", "return None"),),
    ),
    Fix(
        "changed-in-place",
        "a file that changes in place costs one chunk: its ctime counts, and a first "
        "wrong chunk is reported",
        (
            Edit(
                "shoal.storage.shared.scanned:FileChanges.compare",
                "return now.ctime_ns != last.ctime_ns and now[4:7] == last[4:7]",
                "return False",
            ),
            Edit(
                "shoal.swarm.coordinator:Coordinator.on_wrong_chunk",
                "if is_first and download is not None:",
                "if False:",
            ),
        ),
    ),
    Fix(
        "gone-chunk",
        "receivers are told that their source no longer has a chunk",
        (
            Edit(
                "shoal.core.schedule.scheduler:Scheduler.unavailable",
                "is_gone=is_gone",
                "is_gone=False",
            ),
        ),
    ),
    Fix(
        "rarest-of-chosen",
        "chosen chunks are picked rarest first, and the source chooses",
        (
            Edit(
                "shoal.core.schedule.picker:ChunkPicker.__init__",
                "if wanted is None:\n        self._first.extend(index for",
                "first = first if wanted is None else sorted(wanted)\n"
                "    if True:\n        self._first.extend(index for",
            ),
            Edit(
                "shoal.swarm.dispatcher:Dispatcher.request_from",
                "can_choose = self.wanted is None or len(self.wanted) <= MAX_RANGES",
                "can_choose = self.wanted is None",
            ),
        ),
    ),
    Fix(
        "source-chooses-wanted",
        "the source chooses among the wanted chunks",
        (
            Edit(
                "shoal.swarm.dispatcher:Dispatcher.request_from",
                "can_choose = self.wanted is None or len(self.wanted) <= MAX_RANGES",
                "can_choose = self.wanted is None",
            ),
        ),
    ),
    Fix(
        "close-ends-calls",
        "closing a node ends its calls",
        (
            Edit(
                "shoal.resources:Resources.aclose",
                "if call.task is not me]",
                "if False]",
            ),
        ),
    ),
    Fix(
        "stopped-time",
        "a timeout does not count the time that a process was stopped",
        (
            Edit(
                "shoal.core.report.stall_timer:StallTimer.on_check",
                "if gap > MAX_CHECK_GAP:",
                "if False:",
            ),
        ),
    ),
    Fix(
        "selection-again",
        "a selection is served again",
        (
            Edit(
                "shoal.swarm.target:Target._is_served_again",
                "self._options.seed",
                "self._options.seed and not self.has_patterns",
            ),
        ),
    ),
    Fix(
        "origin-chunk-left",
        "the last chunks of an origin are not left for ever to a peer that announces "
        "them and does not keep them",
        (
            Edit(
                "shoal.core.schedule.origin_requests:OriginRequests.fetcher_of",
                "return self.fetches.peer_of(index, now, delay)",
                "return self.fetches.announcer(index)",
            ),
            Edit(
                "shoal.swarm.origins:Origins._passed_on",
                "if self._kept is None or i in self._kept",
                "if True",
            ),
        ),
    ),
    Fix(
        "empty-choice",
        "a source that was stopped, and has no chunk to choose, is asked again",
        (
            Edit(
                "shoal.core.schedule.scheduler:Scheduler.on_refused",
                "window.is_stalled = False",
                "pass",
            ),
        ),
    ),
    Fix(
        "late-mark",
        "a node notes nothing as served once it is closed",
        (
            Edit(
                "shoal.storage.catalogue:Catalogue._append_mark",
                "if self._is_closed:",
                "if False:",
            ),
        ),
    ),
    Fix(
        "slow-sizes",
        "a stopped server of a named channel may send the sizes later",
        (
            Edit(
                "shoal.channel.downloader:ChannelDownloader._probe",
                "server.request([0])",
                "self._silent_on_sizes.add(server)",
            ),
        ),
    ),
    Fix(
        "misfit-sizes",
        "sizes that a server invents do not end `fetch_open` of an existing target",
        (
            Edit(
                "shoal.channel.downloader:ChannelDownloader._try_sizes",
                "self._misfit[sizes] = error",
                "raise",
            ),
        ),
    ),
    Fix(
        "close-ends-streams",
        "closing a node ends its streams of open channels",
        (
            Edit(
                "shoal.channel.stream:ChannelStream._run_as_call",
                "async with self._resources.call():",
                "if True:",
            ),
        ),
    ),
    Fix(
        "once-finished",
        "`--once` waits until a receiver has flushed what it has announced",
        (
            Edit(
                "shoal.swarm.dispatcher:Dispatcher._on_have",
                "have, fresh, named = peer.add_have(message)\n",
                "have, fresh, named = peer.add_have(message)\n"
                "    if have.is_complete:\n"
                "        self._completed.add(peer, self._bytes_at(peer))\n",
            ),
        ),
    ),
    Fix(
        "once-empty",
        "`--once` of a share without a byte waits until a receiver has the files",
        (
            Edit(
                "shoal.swarm.dispatcher:Dispatcher._on_bitfield",
                "if have is None:\n        return\n",
                "if have is None:\n        return\n"
                "    if have.is_complete:\n"
                "        self._completed.add(peer, self._bytes_at(peer))\n",
            ),
        ),
    ),
)

FIXES = {fix.name: fix for fix in (*_TRANSFER_FIXES, *NETWORK_FIXES)}
"""Every fix, by its name."""
