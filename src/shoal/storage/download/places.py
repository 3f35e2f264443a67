"""Where each file of a download is created, in little memory.

Chunks arrive in any order and a share may have millions of files, so to look each one
up in the file table would decode the same pages again and again. Here each path is
looked at once, and a file takes about as many bytes as its name.
"""

from array import array
from collections.abc import Collection, Sequence
from itertools import accumulate, islice

from shoal.core.manifest.file_tree import File

__all__ = ["Places", "flags_of"]

_UNSAFE = frozenset(("", ".", ".."))  # names
_BATCH = 1000  # files that are added together
_PROBLEM = "a path is not safe, or paths are not in the order of their bytes"


def flags_of(count: int, selected: Collection[int] | None) -> bytes:
    """Return a 1 for each of `count` files that is selected; with None, all are."""
    if selected is None:
        return b"\1" * count
    flags = bytearray(count)
    for number in selected:
        flags[number] = 1
    return bytes(flags)


class Places:
    """Keep the size, folder and name of each file, and whether it is executable."""

    def __init__(self, files: Sequence[File], selected: bytes) -> None:
        """Read the files once; `selected` has a 1 for each file that is created.

        The paths of the others are not used. Raises `ValueError` if a path is not safe
        or the paths are not in order; a manifest refuses them too, so this is a second
        check.
        """
        self.sizes: array[int] = array("Q")
        """The sizes of all files in bytes, by number."""
        self.executable = bytearray()
        """1 for each file that is executable in the shared folder."""
        self._folders = [""]  # in the order in which the paths enter them
        self._numbers = {"": 0}  # of the folders
        self._folder = array("I")  # the number of each file's folder
        self._names = bytearray()  # in UTF-8, one after the other
        self._ends = array("Q")  # of each name
        each = zip(files, selected, strict=True)
        last = ""
        while some := list(islice(each, _BATCH)):
            last = self._add(some, last)

    def _add(self, some: Sequence[tuple[File, int]], last: str) -> str:
        """Add files of which the path is after `last`; return the last path."""
        names: list[str] = []
        folders: list[int] = []
        before, number = "", 0
        for file, is_selected in some:
            path = file.path if is_selected else ""
            folder, slash, name = path.rpartition("/")
            if is_selected:
                # The order of code points is the order of the UTF-8 bytes.
                if path <= last or name in _UNSAFE or (slash and not folder):
                    raise ValueError(_PROBLEM)
                last = path
            if folder != before:
                before, number = folder, self._enter(folder)
            names.append(name)
            folders.append(number)
        encoded = [name.encode() for name in names]  # an error if no file can have it
        joined = b"".join(encoded)
        if 0 in joined:
            raise ValueError(_PROBLEM)
        ends = accumulate(map(len, encoded), initial=len(self._names))
        self._ends.extend(islice(ends, 1, None))
        self._names += joined
        self._folder.extend(folders)
        self.sizes.extend([file.size for file, _ in some])
        self.executable += bytes([file.executable for file, _ in some])
        return last

    def _enter(self, folder: str) -> int:
        """Add a folder and those above it if they are new; return its number."""
        known = self._numbers.get(folder)
        if known is not None:
            return known
        names = folder.split("/")
        if "\0" in folder or not _UNSAFE.isdisjoint(names):
            raise ValueError(_PROBLEM)
        folder.encode()
        for end in range(1, len(names) + 1):
            path = "/".join(names[:end])
            if path not in self._numbers:
                self._numbers[path] = len(self._folders)
                self._folders.append(path)
        return self._numbers[folder]

    def place(self, number: int) -> tuple[str, str]:
        """Return the folder and the name of a selected file."""
        start = self._ends[number - 1] if number else 0
        name = self._names[start : self._ends[number]].decode()
        return self._folders[self._folder[number]], name

    def names(self, numbers: Sequence[int]) -> list[str]:
        """Return the names of selected files."""
        names, ends = self._names, self._ends
        starts = (ends[number - 1] if number else 0 for number in numbers)
        return [
            names[start : ends[number]].decode()
            for number, start in zip(numbers, starts, strict=True)
        ]

    def by_folder(self, selected: Sequence[int]) -> "dict[str, array[int]]":
        """Return the numbers of the selected files by folder, parents first."""
        found = [array("Q") for _ in self._folders]
        for number in selected:
            found[self._folder[number]].append(number)
        return dict(zip(self._folders, found, strict=True))
