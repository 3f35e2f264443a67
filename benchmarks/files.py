"""Make the files to transfer, verify the copies, and control the page cache."""

import fcntl
import hashlib
import os
import subprocess
import time
from array import array
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

__all__ = [
    "digest_of",
    "digest_of_tree",
    "flush",
    "flush_all",
    "forget_cached",
    "make_file",
    "make_sparse_file",
    "make_tree",
    "read_through",
    "spread_folders",
]

_STEP = 1 << 24
# From <linux/fs.h>, for systems with 64-bit longs.
_GET_FLAGS = 0x80086601
_SET_FLAGS = 0x40086602
_TOP_FOLDER = 0x00020000


def make_file(path: Path, size: int, seed: int = 1) -> str:
    """Fill a file with incompressible bytes; return its SHA-256.

    The bytes are on the disk and in the page cache when this returns.
    """
    # A cipher is several times faster than a random number generator.
    key = hashlib.sha256(seed.to_bytes(8, "big")).digest()
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    zeros = bytes(_STEP)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, _STEP):
            data = stream.update(zeros[: size - start])
            digest.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def read_through(path: Path) -> None:
    """Load all of a file into the page cache, if there is room."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(_STEP)
        while file.readinto(buffer):
            pass


def make_sparse_file(path: Path, size: int, filled: int, seed: int = 1) -> str:
    """Make a sparse file with some bytes in its middle; return their SHA-256."""
    data = Random(seed).randbytes(filled)
    with path.open("wb") as file:
        file.truncate(size)
        file.seek((size - filled) // 2)
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_tree(root: Path, count: int, largest: int, seed: int = 1) -> str:
    """Fill a folder with small files three levels deep; return `digest_of_tree`.

    The sizes are evenly spread from 0 to `largest` bytes; every tenth file is
    executable.
    """
    rng = Random(seed)
    for number in range(count):
        folder = root / f"{number // 1000:02}" / f"{number // 50 % 20:02}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:05}.bin"
        path.write_bytes(rng.randbytes(rng.randint(0, largest)))
        path.chmod(0o755 if number % 10 == 0 else 0o644)
    flush_all(root)
    return digest_of_tree(root)


def spread_folders(folder: Path) -> None:
    """Have ext4 spread the subfolders of a folder over the disk.

    Without a journal, as on many virtual machines, ext4 does not reuse an inode for
    minutes after it was freed, and for each new file it examines all such inodes
    nearby. So a program is several times slower if a large folder was removed in the
    same place shortly before. Does nothing on other file systems.
    """
    fd = os.open(folder, os.O_RDONLY)
    flags = array("l", [0])
    try:
        fcntl.ioctl(fd, _GET_FLAGS, flags)
        flags[0] |= _TOP_FOLDER
        fcntl.ioctl(fd, _SET_FLAGS, flags)
    except OSError:
        pass  # the file system does not have this flag
    finally:
        os.close(fd)


def digest_of_tree(root: Path) -> str:
    """Return a hash of the paths, bytes and executable bits of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(each for each in root.rglob("*") if not each.is_dir()):
        is_executable = bool(path.stat().st_mode & 0o100)
        name = path.relative_to(root).as_posix()
        digest.update(f"{name}\0{is_executable}\0{digest_of(path)}\n".encode())
    return digest.hexdigest()


def flush(path: Path) -> float:
    """Flush a file to the disk; return the time in seconds."""
    begin = time.perf_counter()
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)
    return time.perf_counter() - begin


def flush_all(path: Path) -> float:
    """Flush the file system of `path`; return the time in seconds."""
    begin = time.perf_counter()
    subprocess.run(["sync", "-f", str(path)], check=True)
    return time.perf_counter() - begin


def forget_cached(path: Path) -> None:
    """Remove a flushed file from the page cache."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
