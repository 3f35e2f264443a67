"""What the programs say of how long their requests took."""

from collections.abc import Iterable

__all__ = ["summarize"]


def summarize(times: Iterable[float]) -> dict[str, float]:
    """Return median and 99th percentile of some times, in their unit."""
    ranked = sorted(times)
    return {
        "p50": ranked[len(ranked) // 2],
        "p99": ranked[len(ranked) * 99 // 100],
    }
