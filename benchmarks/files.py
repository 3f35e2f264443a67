"""Files to transfer, and whether they arrived."""

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
# Of <linux/fs.h>, where longs have 64 bits.
_GET_FLAGS = 0x80086601
_SET_FLAGS = 0x40086602
_TOP_FOLDER = 0x00020000


def make_file(path: Path, size: int, seed: int = 1) -> str:
    """Fill a file with bytes that no compression shortens; return its SHA-256.

    They are on the disk and in the page cache when this returns.
    """
    # A cipher gives them several times faster than a random number generator.
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
    """Have all of a file in the page cache, if there is room."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(_STEP)
        while file.readinto(buffer):
            pass


def make_sparse_file(path: Path, size: int, filled: int, seed: int = 1) -> str:
    """Make a file of holes with some bytes in its middle; return their SHA-256."""
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
    """Fill a folder with small files three levels deep; return what names it.

    Their sizes are even from 0 to `largest` bytes; each tenth is executable.
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
    """Have ext4 put what is made in a folder wherever there is room on the disk.

    Without a journal, which is what many virtual machines have, ext4 does not use an
    inode again for minutes after it was freed, and looks at all of those nearby for
    each file that it makes: whoever comes soon after somebody who removed a large
    folder in the same place is several times slower. Does nothing elsewhere.
    """
    fd = os.open(folder, os.O_RDONLY)
    flags = array("l", [0])
    try:
        fcntl.ioctl(fd, _GET_FLAGS, flags)
        flags[0] |= _TOP_FOLDER
        fcntl.ioctl(fd, _SET_FLAGS, flags)
    except OSError:
        pass  # not a file system that has this
    finally:
        os.close(fd)


def digest_of_tree(root: Path) -> str:
    """Return a hash over all files of a folder: paths, bytes, executable bits."""
    digest = hashlib.sha256()
    for path in sorted(each for each in root.rglob("*") if not each.is_dir()):
        is_executable = bool(path.stat().st_mode & 0o100)
        name = path.relative_to(root).as_posix()
        digest.update(f"{name}\0{is_executable}\0{digest_of(path)}\n".encode())
    return digest.hexdigest()


def flush(path: Path) -> float:
    """Flush a file to the disk; return how many seconds that took."""
    begin = time.perf_counter()
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)
    return time.perf_counter() - begin


def flush_all(path: Path) -> float:
    """Flush all of the file system of `path`; return how many seconds that took."""
    begin = time.perf_counter()
    subprocess.run(["sync", "-f", str(path)], check=True)
    return time.perf_counter() - begin


def forget_cached(path: Path) -> None:
    """Have the system drop what its page cache holds of a file that was flushed."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
