"""The workloads by name; each is the `WORKLOAD` of a module."""

from benchmarks.model import Workload
from benchmarks.workloads import (
    crowd,
    find,
    first_byte,
    four_to_one,
    fsspec_reads,
    handshakes,
    hashing,
    liars,
    memory,
    one_to_one,
    one_to_one_open,
    part_reads,
    pipelined,
    random_reads,
    small_files,
    start_up,
    stop,
)

__all__ = ["WORKLOADS"]

_ALL = (
    one_to_one.WORKLOAD,
    one_to_one_open.WORKLOAD,
    four_to_one.WORKLOAD,
    crowd.WORKLOAD,
    crowd.LARGE_WORKLOAD,
    small_files.WORKLOAD,
    random_reads.WORKLOAD,
    part_reads.WORKLOAD,
    fsspec_reads.WORKLOAD,
    pipelined.WORKLOAD,
    first_byte.WORKLOAD,
    start_up.WORKLOAD,
    stop.WORKLOAD,
    find.WORKLOAD,
    handshakes.WORKLOAD,
    hashing.WORKLOAD,
    memory.WORKLOAD,
    liars.WORKLOAD,
    liars.FAST_WORKLOAD,
)
WORKLOADS: dict[str, Workload] = {workload.name: workload for workload in _ALL}
