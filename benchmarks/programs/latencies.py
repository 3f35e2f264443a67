"""Summarize the latencies of requests."""

from collections.abc import Iterable

__all__ = ["summarize"]


def summarize(times: Iterable[float]) -> dict[str, float]:
    """Return the median and the 99th percentile, in the unit of the times."""
    ranked = sorted(times)
    return {
        "p50": ranked[len(ranked) // 2],
        "p99": ranked[len(ranked) * 99 // 100],
    }
