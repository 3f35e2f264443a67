"""What all parts of a swarm move bytes with; most of it belongs to the whole node."""

from concurrent.futures import Executor
from random import Random

from msgspec import Struct

from shoal.core.bucket import TokenBucket
from shoal.core.framing import BufferPool
from shoal.core.tally import Tally

__all__ = ["Means"]


class Means(Struct, frozen=True, kw_only=True):
    """Hold what the parts of a swarm have in common."""

    node_id: bytes
    """What others tell this node from others by; a claim."""
    port: int
    """TCP port that others may dial."""
    threads: Executor
    """For hashing, writing, flushing and reading what is not cached."""
    rng: Random
    """For everything that is left to chance."""
    pool: BufferPool
    """Buffers of chunks."""
    up: TokenBucket
    """What may be sent."""
    down: TokenBucket
    """What may be asked for."""
    tally: Tally
    """Counts what was moved."""
