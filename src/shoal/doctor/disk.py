"""What the file systems can do that downloads and what is kept for the user lie on."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from shoal.doctor.finding import Finding, failed, note, ok
from shoal.storage.disk.linux import fallocate, rename_without_replacing
from shoal.storage.disk.osdisk import OsDisk

__all__ = ["ATTEMPTS", "Attempt", "look_at_disk", "look_at_home"]

LITTLE = 1 << 30  # bytes; less free space is worth a word
TRIED = 1 << 20  # bytes reserved to see that it can be done
HOLE = 64 << 20  # bytes of a file without content


class Attempt(NamedTuple):
    """Describe something that a download does."""

    name: str
    """What it is called."""
    make: Callable[[Path], str]
    """Do it in a folder, and return what works; raises `OSError`."""
    missing: str
    """What it means if that does not work."""


def look_at_home() -> Iterator[Finding]:
    """Say whether what is kept from run to run can be; blocks."""
    from platformdirs import user_data_path

    home = user_data_path("shoal")
    near = next(each for each in (home, *home.parents) if each.exists())
    if os.access(near, os.W_OK | os.X_OK):
        yield ok("home", f"Hashes of what was shared are kept in {home}.")
    else:
        yield note(
            "home",
            f"{home} cannot be written to.",
            "Sharing the same again hashes it anew, and gives another link; set "
            "XDG_DATA_HOME to a folder of yours.",
        )


def _space(folder: Path) -> Finding:
    free = OsDisk().free_space(folder)
    found = f"{free / (1 << 30):.1f} GiB are free in {folder.absolute()}."
    if free < LITTLE:
        return note("disk", found, "What is larger ends with exit code 9; make room.")
    return ok("disk", found)


def _try(attempt: Attempt, place: Path) -> Finding:
    try:
        return ok(attempt.name, attempt.make(place))
    except OSError as error:
        code = errno.errorcode.get(error.errno or 0, "")
        found = f"The file system does not do it ({error.strerror}, {code})."
        return note(attempt.name, found, attempt.missing)


def _reserve(place: Path) -> str:
    with open(place / "reserve", "wb") as file:
        fallocate(file.fileno(), TRIED)
    return "Room for a download can be reserved (fallocate)."


def _rename(place: Path) -> str:
    for name in ("one", "two"):
        (place / name).touch()
    try:
        rename_without_replacing(str(place / "one"), str(place / "two"))
    except FileExistsError:
        rename_without_replacing(str(place / "one"), str(place / "three"))
        return "A name that is taken is never overwritten (RENAME_NOREPLACE)."
    raise OSError(errno.ENOTSUP, "it overwrote a file")


def _lock(place: Path) -> str:
    disk = OsDisk()
    (place / "lock").touch()
    first, second = (disk.open_write(place / "lock") for _ in range(2))
    try:
        if disk.lock(first) and not disk.lock(second):
            return "Two downloads to one target are told apart (flock)."
        raise OSError(errno.ENOLCK, "a lock was given twice")
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
    return "What is not fetched takes no room (sparse files)."


ATTEMPTS: tuple[Attempt, ...] = (
    Attempt(
        "reserving", _reserve, "A disk that fills up is noticed midway, not at once."
    ),
    Attempt(
        "renaming",
        _rename,
        "Another program that makes the same name in the last moment may lose it.",
    ),
    Attempt(
        "locking", _lock, "Do not run two downloads to one target at the same time."
    ),
    Attempt(
        "holes", _leave_hole, "A part of a folder takes as much room as all of it."
    ),
)
"""What is tried."""


def look_at_disk(
    folder: Path, attempts: Iterable[Attempt] = ATTEMPTS
) -> Iterator[Finding]:
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
        for attempt in attempts:
            yield _try(attempt, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
