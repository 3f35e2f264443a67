"""Measure shoal and the programs that people use today.

`scripts/bench [WORKLOAD…]` runs these programs in turn on one machine, inside network
namespaces, and verifies every result by hash. Compare the ratios within one run:
absolute figures differ between machines and hours.

Each workload is a module in `workloads`. It prepares the files and the servers, lists
the sides to compare and measures one run of a side. A run fails only if its result is
wrong, never because it is slow.
"""
