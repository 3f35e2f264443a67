"""What only Linux offers: three system calls that Python lacks, /proc, and ACLs.

The calls are fallocate, renameat2 and syncfs.

`os.posix_fallocate` is not used because the C library writes a byte into every page
where a file system cannot preallocate, which takes minutes for a large file. Where a
system call does not exist (another system, an old C library) its function raises
`OSError` with `ENOSYS`, and the caller does without it.
"""

import os
import struct
import sys
from collections.abc import Callable
from errno import ENODATA, ENOSYS

__all__ = [
    "fallocate",
    "permitted_by",
    "read_acl",
    "read_boot_id",
    "rename_without_replacing",
    "syncfs",
    "write_acl",
]

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_ACL_OWNER, _ACL_GROUP, _ACL_MASK, _ACL_OTHER = 0x01, 0x04, 0x10, 0x20
_ACCESS_ACL = "system.posix_acl_access"
_C_TYPES = {"i": "c_int", "u": "c_uint", "q": "c_longlong", "s": "c_char_p"}


def fallocate(fd: int, size: int) -> None:
    """Reserve space for the first `size` bytes of a file and make it that long."""
    _call(("fallocate64", "fallocate"), "iiqq", fd, 0, 0, size)


def rename_without_replacing(
    source: str, target: str, at: int | None = None, to: int | None = None
) -> None:
    """Rename a file or folder; fail with `EEXIST` if `target` exists.

    `at` and `to` are the open folders that contain the two names.
    """
    _call(
        ("renameat2",),
        "isisu",
        _AT_FDCWD if at is None else at,
        os.fsencode(source),
        _AT_FDCWD if to is None else to,
        os.fsencode(target),
        _RENAME_NOREPLACE,
    )


def syncfs(fd: int) -> None:
    """Flush the whole file system of an open file to the disk, and wait."""
    _call(("syncfs",), "i", fd)


def permitted_by(folder: int) -> int:
    """Return the permission bits that new files in an open folder may get."""
    allowed = _read_default_acl(folder)
    return 0o777 & ~_read_umask() if allowed is None else allowed


def _read_umask() -> int:
    """Return the umask, or the usual one where the system does not report it.

    `os.umask` would change it for all threads for a moment.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except (OSError, ValueError):
        pass
    return 0o022


def _read_default_acl(folder: int) -> int | None:
    """Return the permission bits that a folder's default ACL allows new files.

    The bits of the group are those of the mask, if there is one, as in chmod(2) and
    acl(5). None if the folder has no default ACL, or the system has none.
    """
    try:
        data = os.getxattr(folder, "system.posix_acl_default")
    except (OSError, AttributeError):  # other systems have no such function
        return None
    # linux/posix_acl_xattr.h: the version, then tag, permissions and id of each entry.
    entries: dict[int, int] = {}
    for tag, bits, _ in struct.iter_unpack("<HHI", data[4:]):
        entries.setdefault(tag, bits)
    group = entries.get(_ACL_MASK, entries.get(_ACL_GROUP, 0))
    owner, other = entries.get(_ACL_OWNER, 0), entries.get(_ACL_OTHER, 0)
    return owner << 6 | group << 3 | other


def read_acl(path: str | bytes | os.PathLike[str]) -> bytes | None:
    """Return the access ACL of a file as the system stores it, None if it has none."""
    try:
        return os.getxattr(path, _ACCESS_ACL, follow_symlinks=False)
    except (OSError, AttributeError):  # other systems have no such function
        return None


def write_acl(fd: int, acl: bytes | None) -> None:
    """Give an open file an access ACL that `read_acl` has returned; raises `OSError`.

    With None, remove the one that it has inherited.
    """
    if acl is not None:
        os.setxattr(fd, _ACCESS_ACL, acl)
    elif hasattr(os, "removexattr"):
        try:
            os.removexattr(fd, _ACCESS_ACL)
        except OSError as error:
            if error.errno != ENODATA:
                raise


def read_boot_id() -> bytes | None:
    """Return the 16 bytes of the boot id; None where the system does not report it."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = bytes.fromhex(file.read().strip().replace("-", ""))
    except (OSError, ValueError):
        return None
    return boot if len(boot) == 16 else None


def _call(names: tuple[str, ...], types: str, *arguments: int | bytes) -> None:
    """Call the first of these C functions that exists; raise `OSError` if it fails."""
    import ctypes  # takes milliseconds, so only when it is needed

    convert = (getattr(ctypes, _C_TYPES[each]) for each in types)
    values = [make(value) for make, value in zip(convert, arguments, strict=True)]
    function: Callable[..., int] | None = None
    if sys.platform == "linux":
        library = ctypes.CDLL(None, use_errno=True)
        found = (getattr(library, name, None) for name in names)
        function = next((each for each in found if each is not None), None)
    if function is None:
        raise OSError(ENOSYS, os.strerror(ENOSYS))
    if function(*values) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
