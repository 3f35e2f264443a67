"""Files to transfer, and whether they arrived."""

import hashlib
import os
from pathlib import Path
from random import Random

__all__ = ["digest_of", "make_file"]

_STEP = 1 << 24


def make_file(path: Path, size: int, seed: int = 1) -> str:
    """Fill a file with bytes that no compression shortens; return its SHA-256.

    They are on the disk and in the page cache when this returns.
    """
    rng = Random(seed)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, _STEP):
            data = rng.randbytes(min(_STEP, size - start))
            digest.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
