"""The workloads by name; each is one file and a `WORKLOAD` in it."""

from benchmarks.model import Workload
from benchmarks.workloads import find, first_byte, one_to_one_open, pipelined

__all__ = ["WORKLOADS"]

WORKLOADS: dict[str, Workload] = {
    module.WORKLOAD.name: module.WORKLOAD
    for module in (pipelined, one_to_one_open, first_byte, find)
}
