"""What an earlier run has left of a download, before any of it is believed.

Sizes and times are looked at, not bytes: who hashes what is for `staging` to say.
"""

from shoal.storage.disk.disk import Disk, Identity
from shoal.storage.disk.folders import Folders, remove_all
from shoal.storage.download.layout import Layout

__all__ = ["Survey", "is_ours"]


class Survey:
    """Say which files are there and how long they are; make it with `take`."""

    def __init__(self, layout: Layout) -> None:
        self.sizes = [0] * (layout.side + 1)
        """How many bytes each file has, the side file last."""
        self.exists = bytearray(layout.side + 1)
        """1 for each file that is there."""
        self.newest_ns = 0
        """When the last of them changed."""
        self.is_damaged = False
        """Whether something is not as shoal leaves it."""
        self._layout = layout

    @classmethod
    def take(
        cls, disk: Disk, layout: Layout, folders: Folders, staging: int
    ) -> "Survey":
        """Look at all files, and remove what stands where one has to be."""
        survey = cls(layout)
        for folder, numbers in layout.folders().items():
            at = folders.find(folder)
            if at is not None:
                for number in numbers:
                    survey._look_at(disk, number, at)
        if layout.side_size:
            survey._look_at(disk, layout.side, staging)
        return survey

    def holds(self, index: int) -> bool:
        """Say whether the files are long enough to have chunk `index` in them."""
        return all(
            self.sizes[number] >= offset + size
            for number, size, offset in self._layout.spans(index)
        )

    def _look_at(self, disk: Disk, number: int, at: int) -> None:
        _, name = self._layout.place(number)
        state = disk.identity_at(name, at=at)
        if state is None:
            return
        if not is_ours(state):
            remove_all(disk, name, at)
            self.is_damaged = True
            return
        size = self._layout.size(number)
        self.exists[number] = 1
        self.sizes[number] = state.size
        if size:  # an empty one may have been made after the last chunk
            self.newest_ns = max(self.newest_ns, state.mtime_ns)
        is_short = state.size < size and self._layout.is_reserved(number)
        self.is_damaged |= state.size > size or is_short


def is_ours(state: Identity) -> bool:
    """Say whether something is a file that has one name only: the one we gave it."""
    return state.is_file and state.links == 1
