"""The resources of a node, for tests of parts that need no whole node."""

from concurrent.futures import ThreadPoolExecutor
from random import Random

from shoal.config.settings import Settings
from shoal.core.rate_limit import RateLimit
from shoal.resources import Resources

__all__ = ["make_resources"]


def make_resources(
    threads: ThreadPoolExecutor,
    *,
    up: RateLimit | None = None,
    limit_up: float | None = None,
    limit_down: float | None = None,
    seed: int = 1,
) -> Resources:
    """Return resources with these threads, and with `up` as their upload rate."""
    settings = Settings(limit_up=limit_up, limit_down=limit_down)
    resources = Resources(settings, rng=Random(seed))
    resources.threads = threads
    if up is not None:
        resources.up = up
    return resources
