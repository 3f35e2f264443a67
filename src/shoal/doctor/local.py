"""Check the disk, the clock, limits, buffers, encryption and what is installed."""

import errno
import os
import platform
import shutil
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from shoal import __version__
from shoal.config.file import config_path, read_file
from shoal.doctor.finding import Finding, failed, note, ok
from shoal.storage.disk.disk import UNKNOWN_BOOT, Disk
from shoal.storage.disk.linux import fallocate, rename_without_replacing

__all__ = ["TRIALS", "Trial", "check_disk", "check_home", "check_machine"]

LITTLE_SPACE = 1 << 30  # bytes; less free space is worth a note
RESERVED = 1 << 20  # bytes reserved to see that the file system can do it
HOLE = 64 << 20  # bytes of a file without content
ENOUGH_FILES = 1024  # open at once: the connections and files of some shares
FAR = 0.1  # seconds of a round trip to a peer on another continent
ENOUGH_BUFFER = 4 << 20  # bytes of a connection; 40 MiB/s at that distance
_EXTRAS = {
    "fsspec": ("fsspec",),
    "metrics": ("prometheus_client",),
    "origin": ("fsspec", "s3fs"),
    "fast": ("uvloop",),
    "qr": ("segno",),
    "quic": ("qh3",),
}
_HARDWARE = ({"aes", "pclmulqdq"}, {"aes", "pmull"})  # of x86, of ARM


class Trial(NamedTuple):
    """Something that a download does on the disk."""

    name: str
    """The name of the check."""
    make: Callable[[Path], str]
    """Do it in a folder, and return the result; raises `OSError`."""
    advice: str
    """What it means if the file system cannot do it."""


def check_home() -> Iterator[Finding]:
    """Check that shoal can write its own folder; blocks."""
    from shoal.storage.home import user_home

    home = user_home()
    near = next(each for each in (home, *home.parents) if each.exists())
    if os.access(near, os.W_OK | os.X_OK):
        yield ok("home", f"Hashes of shared files are kept in {home}.")
    else:
        yield note(
            "home",
            f"{home} is not writable.",
            "Sharing the same files again hashes them again and creates another link; "
            "set XDG_DATA_HOME to a folder that you can write to.",
        )


def check_disk(folder: Path) -> Iterator[Finding]:
    """Try in `folder` what a download does; blocks, and leaves nothing there."""
    try:
        place = Path(tempfile.mkdtemp(prefix=".shoal-doctor-", dir=folder))
    except OSError as error:
        yield failed(
            "disk",
            f"{folder.absolute()} cannot be written to: {error.strerror}.",
            "Choose another folder with -C DIR, or change its permissions.",
        )
        return
    try:
        yield _space(folder)
        for trial in TRIALS:
            yield _try(trial, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _space(folder: Path) -> Finding:
    free = Disk().free_space(folder)
    found = f"{free / (1 << 30):.1f} GiB are free in {folder.absolute()}."
    if free < LITTLE_SPACE:
        advice = "A larger download ends with exit code 9; free some space."
        return note("disk", found, advice)
    return ok("disk", found)


def _try(trial: Trial, place: Path) -> Finding:
    try:
        return ok(trial.name, trial.make(place))
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "")
        found = f"The file system does not support it ({error.strerror}, {code})."
        return note(trial.name, found, trial.advice)


def _reserve(place: Path) -> str:
    with open(place / "reserve", "wb") as file:
        fallocate(file.fileno(), RESERVED)
    return "The space for a download can be reserved (fallocate)."


def _rename(place: Path) -> str:
    for name in ("one", "two"):
        (place / name).touch()
    try:
        rename_without_replacing(str(place / "one"), str(place / "two"))
    except FileExistsError:
        rename_without_replacing(str(place / "one"), str(place / "three"))
        return "An existing file is never overwritten (RENAME_NOREPLACE)."
    raise OSError(errno.ENOTSUP, "it overwrote a file")


def _lock(place: Path) -> str:
    disk = Disk()
    (place / "lock").touch()
    first, second = (disk.open_write(place / "lock") for _ in range(2))
    try:
        if disk.lock(first) and not disk.lock(second):
            return "Two downloads to the same target notice each other (flock)."
        raise OSError(errno.ENOLCK, "two processes got the same lock")
    finally:
        disk.close(first)
        disk.close(second)


def _leave_hole(place: Path) -> str:
    with open(place / "hole", "wb") as file:
        file.truncate(HOLE)
        file.flush()
        os.fsync(file.fileno())
        used = os.fstat(file.fileno()).st_blocks * 512
    if used >= HOLE // 2:
        raise OSError(errno.ENOTSUP, f"{used} bytes for an empty file")
    return "Parts that are not downloaded take no space (sparse files)."


TRIALS: tuple[Trial, ...] = (
    Trial(
        "reserving",
        _reserve,
        "A download notices a full disk only when it gets there, not at the start.",
    ),
    Trial(
        "renaming",
        _rename,
        "If another program creates the target just as a download ends, that file may "
        "be overwritten.",
    ),
    Trial(
        "locking",
        _lock,
        "Do not run two downloads to the same target at the same time.",
    ),
    Trial(
        "holes",
        _leave_hole,
        "A part of a folder takes as much space as the whole folder.",
    ),
)
"""Everything that a download does on the disk and some file systems cannot do."""


def check_machine() -> Iterator[Finding]:
    """Check the machine and the installation; blocks for a moment."""
    yield _clock()
    yield _boot()
    yield from _limits()
    yield from _buffers()
    yield _encryption()
    yield _extras()
    yield _configuration()


def _clock() -> Finding:
    now = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return ok(
        "clock",
        f"The clock shows {now} UTC.",
        "A wrong clock does no harm: no message between peers depends on it.",
    )


def _boot() -> Finding:
    if Disk().boot_id() != UNKNOWN_BOOT:
        return ok("boot id", "shoal can tell whether the machine restarted.")
    return note(
        "boot id",
        "The system does not report when it started.",
        "Each resumed download verifies all files again.",
    )


def _limits() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files >= ENOUGH_FILES:
        yield ok("open files", f"{files} files may be open at once.")
    else:
        yield note(
            "open files",
            f"Only {files} files may be open at once.",
            f"shoal can serve few peers; allow more: ulimit -n {ENOUGH_FILES}.",
        )
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    if addresses != resource.RLIM_INFINITY:
        size = f"{addresses >> 20} MiB"
        yield note(
            "memory",
            f"The address space is limited to {size} (ulimit -v).",
            "256 MiB are enough.",
        )


def _buffers() -> Iterator[Finding]:
    for name, file in {"receive": "tcp_rmem", "send": "tcp_wmem"}.items():
        try:
            text = Path(f"/proc/sys/net/ipv4/{file}").read_text("ascii")
            most = int(text.split()[2])
        except (OSError, ValueError, IndexError):
            continue  # another system, or a sandbox
        rate = most / FAR / (1 << 20)
        found = (
            f"The {name} buffer of a connection may hold {most / (1 << 20):.1f} MiB."
        )
        if most >= ENOUGH_BUFFER:
            yield ok("buffers", found)
        else:
            yield note(
                "buffers",
                found,
                f"Over a long distance ({FAR * 1000:.0f} ms), a connection reaches at "
                f"most {rate:.0f} MiB/s; raise net.ipv4.{file} for more.",
            )


def _encryption() -> Finding:
    version = f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}"
    known = _processor_flags()
    if not known:
        return ok("encryption", f"{version}.")
    if any(each <= known for each in _HARDWARE):
        return ok("encryption", f"{version}; the processor accelerates AES-GCM.")
    return note(
        "encryption",
        f"{version}; the processor has no instructions for AES-GCM.",
        "Encryption may limit the transfer rate; nothing can be done about it.",
    )


def _processor_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return set()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return set(value.split())
    return set()


def _extras() -> Finding:
    installed = {
        extra: all(find_spec(name) is not None for name in names)
        for extra, names in _EXTRAS.items()
    }
    there = ", ".join(extra for extra, is_there in installed.items() if is_there)
    missing = ",".join(extra for extra, is_there in installed.items() if not is_there)
    advice = f"To add the others: pip install 'shoal[{missing}]'." if missing else None
    return ok("extras", f"Installed extras: {there or 'none'}.", advice)


def _configuration() -> Finding:
    keys = ", ".join(read_file()) or "nothing"
    what = f"{config_path()} sets {keys}"
    return ok("options", f"shoal {__version__} runs from {sys.prefix}; {what}.")
