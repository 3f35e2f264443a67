"""What the machine is, as far as it explains the figures, and no more."""

import os
import platform

__all__ = ["describe"]


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
