"""Measure shoal beside the programs that people use today.

`scripts/bench [WORKLOAD…]` runs them side by side on one machine, in turn, inside
network namespaces of its own, and checks every result by hash. What is compared
are ratios within one run; absolute figures differ between machines and hours.

A workload is one file in `workloads`; it says how to prepare, which sides there
are and what one run of a side measures. Nothing here fails because something is
slow: a wrong result is the only failure.
"""
