"""Make folders to share, and list their files for comparison."""

import os
import random
from pathlib import Path
from typing import NamedTuple

__all__ = ["Entry", "list_folder", "make_folder"]


class Entry(NamedTuple):
    """One file of a folder."""

    path: str
    content: bytes
    is_executable: bool


def list_folder(folder: Path) -> list[Entry]:
    """Return every file below `folder`, without symbolic links and empty folders."""
    return sorted(
        Entry(
            str(path.relative_to(folder)), path.read_bytes(), os.access(path, os.X_OK)
        )
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


def make_folder(
    folder: Path, files: int, *, sizes: tuple[int, int] = (0, 2000), seed: int = 1
) -> Path:
    """Make a folder with this many files in subfolders of a hundred each."""
    rng = random.Random(seed)
    for number in range(files):
        path = folder / f"part-{number // 100:03}" / f"file-{number:05}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randint(*sizes)))
    return folder
