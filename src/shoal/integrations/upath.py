"""Paths of `universal_pathlib` for shares: `UPath("shoal://ID/path")`.

`universal_pathlib` finds this module by its entry point.
"""

from collections.abc import Sequence

from fsspec import get_filesystem_class
from upath import UPath

__all__ = ["ShoalPath"]

# Until fsspec has loaded the class, `universal_pathlib` would parse URLs without it.
get_filesystem_class("shoal")


class ShoalPath(UPath):
    """Name a file or folder of a share: `UPath("shoal://ID/a.txt").read_text()`."""

    __slots__ = ()

    @property
    def parts(self) -> Sequence[str]:
        """Return the id of the share and the names in it, without a root."""
        parts = super().parts
        return parts[1:] if parts and parts[0] == "/" else parts
