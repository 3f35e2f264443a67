"""The real disk: this machine's file system behind the `Disk` interface.

What is done with open files stands in `osfiles` and, for many small reads, `osreads`,
with names in `osnames`, the translation of errors in `oserrors`; here is what is asked
of the machine itself.
"""

from shoal.storage.disk.disk import UNKNOWN_BOOT
from shoal.storage.disk.osnames import OsNames
from shoal.storage.disk.osreads import OsReads

__all__ = ["OsDisk"]


class OsDisk(OsNames, OsReads):
    """Do what `Disk` says on this machine's file system."""

    def umask(self) -> int:
        """Return the umask without changing it, which would disturb other threads."""
        try:
            with open("/proc/self/status", encoding="ascii", errors="replace") as file:
                for line in file:
                    if line.startswith("Umask:"):
                        return int(line.split()[1], 8)
        except (OSError, ValueError):
            pass
        return 0o022

    def boot_id(self) -> bytes:
        """Return 16 bytes that differ after each start of the machine."""
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                boot = bytes.fromhex(file.read().strip().replace("-", ""))
        except (OSError, ValueError):
            return UNKNOWN_BOOT
        return boot if len(boot) == len(UNKNOWN_BOOT) else UNKNOWN_BOOT
