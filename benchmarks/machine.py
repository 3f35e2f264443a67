"""Describe the machine that the figures were measured on."""

import mmap
import os
import platform

__all__ = ["describe", "warm_memory"]


def describe() -> str:
    """Return cores, processor, memory, kernel and Python in one line."""
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return (
        f"{os.cpu_count()} cores ({_processor()}), {pages * page / 2**30:.0f} GiB, "
        f"{platform.system()} {kernel}, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} at the end"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def warm_memory(size: int) -> None:
    """Write to `size` bytes of free memory, so that later writes do not wait for it.

    A virtual machine returns unused memory to its host. The next program that writes
    to this memory waits for the host, ten times as long as the write itself takes;
    which program that is would be chance.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, size, flags=flags).close()
