"""Metrics for Prometheus: bytes by path, chunks, peers, failures, disk and queue times.

A scraper needs a URL that does not change, so `/metrics` needs no token. It is served
only with `--metrics` and names no share, file or peer: shares are numbered as on the
page. Text exposition format 0.0.4.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.typedefs import Handler

from shoal.core.report.counters import BOUNDS, Counters, Durations
from shoal.core.report.status import PATHS, ShareStatus
from shoal.errors import UsageError
from shoal.gateway.shares import ServedShare

if TYPE_CHECKING:
    from prometheus_client import Metric

    from shoal.node.node import Node

__all__ = ["PATH", "make_handler"]

PATH = "/metrics"


class _Collector:
    """Make the metrics of a node and its shares, each time they are scraped."""

    def __init__(self, node: "Node", shares: Sequence[ServedShare]) -> None:
        self._node = node
        self._shares = shares

    def collect(self) -> Iterator["Metric"]:
        """Yield every metric; called by the registry."""
        counters = self._node.counters
        statuses = {
            str(share.number): self._node.status(share.link) for share in self._shares
        }
        yield from _moved(counters)
        yield _chunks(statuses.items())
        yield _peers(statuses.items())
        yield from _times(counters)


def make_handler(node: "Node", shares: Sequence[ServedShare]) -> Handler:
    """Return the handler for requests of `/metrics`.

    Raises `UsageError` without the package prometheus-client.
    """
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as KIND
        from prometheus_client.exposition import generate_latest
    except ImportError:
        needed = "the package prometheus-client: pip install 'shoal[metrics]'"
        raise UsageError(f"--metrics needs {needed}.") from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(node, shares))

    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0)  # lets other tasks run between several scrapers
        body = generate_latest(registry)
        return web.Response(body=body, headers={"Content-Type": KIND})

    return answer


def _moved(tally: Counters) -> Iterator["Metric"]:
    from prometheus_client.core import CounterMetricFamily

    moved = CounterMetricFamily(
        "shoal_bytes",
        "Bytes of chunks: received and verified, or sent.",
        labels=["direction", "path"],
    )
    for direction, counts in (("received", tally.received), ("sent", tally.sent)):
        for path in PATHS:
            moved.add_metric([direction, path], counts[path])
    yield moved
    yield CounterMetricFamily(
        "shoal_verification_failures",
        "Chunks and manifest pages that did not verify.",
        value=tally.failures,
    )


def _chunks(statuses: Iterable[tuple[str, ShareStatus]]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    chunks = GaugeMetricFamily(
        "shoal_chunks", "Chunks of a share, by state.", labels=["share", "state"]
    )
    for number, status in statuses:
        if status.manifest is None:
            continue
        have = status.have
        stored = len(have) if have is not None else 0
        requested = sum(have is None or index not in have for index in status.requested)
        missing = status.manifest.chunks.count - stored - requested
        chunks.add_metric([number, "here"], stored)
        chunks.add_metric([number, "asked"], requested)
        chunks.add_metric([number, "missing"], missing)
    return chunks


def _peers(statuses: Iterable[tuple[str, ShareStatus]]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    peers = GaugeMetricFamily(
        "shoal_peers", "Connected peers.", labels=["share", "path"]
    )
    for number, status in statuses:
        counts = Counter(peer.path for peer in status.peers)
        for path in PATHS:
            peers.add_metric([number, path], counts[path])
    return peers


def _times(tally: Counters) -> Iterator["Metric"]:
    from prometheus_client.core import HistogramMetricFamily

    disk = HistogramMetricFamily(
        "shoal_disk_seconds", "Duration of disk operations.", labels=["operation"]
    )
    disk_times = {"write": tally.writes, "flush": tally.flushes, "read": tally.reads}
    for name, durations in disk_times.items():
        disk.add_metric([name], _buckets(durations), durations.total)
    yield disk
    queue = HistogramMetricFamily(
        "shoal_queue_seconds",
        "Time that peers wait to be served, and readers for a chunk.",
        labels=["queue"],
    )
    for name, durations in (("upload", tally.turns), ("reader", tally.waits)):
        queue.add_metric([name], _buckets(durations), durations.total)
    yield queue


def _buckets(durations: Durations) -> list[tuple[str, float]]:
    """Return the cumulative count of each bucket of a histogram."""
    total, buckets = 0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), durations.counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
