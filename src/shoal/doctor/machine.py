"""Clock, limits, buffers, encryption, what is installed and what is configured."""

import platform
import ssl
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from shoal import __version__
from shoal.config.values import config_path, read_file
from shoal.doctor.finding import Finding, note, ok
from shoal.storage.disk.disk import UNKNOWN_BOOT
from shoal.storage.disk.osdisk import OsDisk

__all__ = ["look_at_machine"]

ENOUGH_FILES = 1024  # open at once: connections of some shares, and their files
FAR = 0.1  # seconds there and back, of a peer on another continent
ENOUGH_BUFFER = 4 << 20  # bytes of a connection; 40 MiB/s that far
_EXTRAS = {
    "fsspec": ("fsspec",),
    "metrics": ("prometheus_client",),
    "origin": ("fsspec", "s3fs"),
    "fast": ("uvloop",),
    "qr": ("segno",),
}
_HARDWARE = ({"aes", "pclmulqdq"}, {"aes", "pmull"})  # of x86, of ARM


def look_at_machine() -> Iterator[Finding]:
    """Look at what needs no trying; blocks for a moment."""
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
        f"It is {now} UTC here.",
        "A wrong clock does no harm: nothing that peers agree on depends on it.",
    )


def _boot() -> Finding:
    if OsDisk().boot_id() != UNKNOWN_BOOT:
        return ok("boot id", "A restart of the machine is told from one of shoal.")
    return note(
        "boot id",
        "The system does not say when it was started.",
        "A download that is gone on with verifies all that is there, each time.",
    )


def _limits() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY or files >= ENOUGH_FILES:
        yield ok("open files", f"{files} may be open at once.")
    else:
        yield note(
            "open files",
            f"Only {files} may be open at once.",
            f"Few peers can be served; allow more: ulimit -n {ENOUGH_FILES}.",
        )
    addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
    if addresses != resource.RLIM_INFINITY:
        size = f"{addresses >> 20} MiB"
        yield note("memory", f"Limited to {size} of addresses.", "256 MiB are enough.")


def _buffers() -> Iterator[Finding]:
    for name, file in {"receive": "tcp_rmem", "send": "tcp_wmem"}.items():
        try:
            text = Path(f"/proc/sys/net/ipv4/{file}").read_text("ascii")
            most = int(text.split()[2])
        except (OSError, ValueError, IndexError):
            continue  # another system, or a sandbox
        rate = most / FAR / (1 << 20)
        found = f"A connection may {name} {most / (1 << 20):.1f} MiB ahead."
        if most >= ENOUGH_BUFFER:
            yield ok("buffers", found)
        else:
            yield note(
                "buffers",
                found,
                f"From far away ({FAR * 1000:.0f} ms) one peer gives at most "
                f"{rate:.0f} MiB/s; raise net.ipv4.{file} if that is too little.",
            )


def _encryption() -> Finding:
    version = f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}"
    known = _processor_flags()
    if not known:
        return ok("encryption", f"{version}.")
    if any(each <= known for each in _HARDWARE):
        return ok("encryption", f"{version}; the processor does AES-GCM itself.")
    return note(
        "encryption",
        f"{version}; the processor has no instructions for AES-GCM.",
        "Encrypting may be what limits the rate; nothing is to be done.",
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
    has = {
        extra: all(find_spec(name) is not None for name in names)
        for extra, names in _EXTRAS.items()
    }
    there = ", ".join(extra for extra, is_there in has.items() if is_there)
    missing = ",".join(extra for extra, is_there in has.items() if not is_there)
    advice = f"For more: pip install 'shoal[{missing}]'." if missing else None
    return ok("extras", f"Installed: {there or 'none'}.", advice)


def _configuration() -> Finding:
    keys = ", ".join(read_file())
    what = f"{config_path()} sets {keys}" if keys else f"{config_path()} sets nothing"
    return ok("options", f"shoal {__version__} in {sys.prefix}; {what}.")
