"""The workloads by name; each is one file and a `WORKLOAD` in it."""

from benchmarks.model import Workload
from benchmarks.workloads import (
    crowd,
    find,
    first_byte,
    hashing,
    liars,
    one_to_one,
    one_to_one_open,
    pipelined,
    small_files,
)

__all__ = ["WORKLOADS"]

_ALL = (
    one_to_one.WORKLOAD,
    one_to_one_open.WORKLOAD,
    crowd.WORKLOAD,
    crowd.LARGE_WORKLOAD,
    small_files.WORKLOAD,
    hashing.WORKLOAD,
    liars.WORKLOAD,
    liars.FAST_WORKLOAD,
    pipelined.WORKLOAD,
    first_byte.WORKLOAD,
    find.WORKLOAD,
)
WORKLOADS: dict[str, Workload] = {workload.name: workload for workload in _ALL}
