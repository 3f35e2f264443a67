"""Build a sealed share of a file or folder: scan it, hash it, describe it.

The result is a `Manifest`, whose id is in the link, and the store that chunks are read
from. Every function blocks.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from shoal.config.arguments import ShareOptions
from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.file_table import encode_files
from shoal.core.manifest.manifest import Manifest, build_manifest
from shoal.core.manifest.pages import split_pages
from shoal.core.manifest.paths import path_problem
from shoal.core.manifest.root import (
    SALT_SIZE,
    check_sealed_chunk_size,
    choose_chunk_size,
)
from shoal.storage.disk.disk import Disk
from shoal.storage.shared.hash_cache import HashCache, hash_files
from shoal.storage.shared.scan import ScannedFolder, scan_folder
from shoal.storage.shared.secret import user_secret
from shoal.storage.shared.shared_files import SharedFiles

__all__ = ["Built", "build_share"]

SCHEME = "shoal v1 chunk"


class Built(NamedTuple):
    """The result of building a share."""

    manifest: Manifest
    source: SharedFiles


def build_share(
    path: Path,
    options: ShareOptions,
    *,
    disk: Disk,
    home: Path | None,
    on_hashed: Callable[[int, int], None],
    stopped: Callable[[], bool],
    warn: Callable[[str], None],
) -> Built:
    """Scan and hash the file or folder at `path`.

    `home` is the folder for this user's secret and the hashes of earlier runs; with
    None neither is used. Raises `UsageError`, `ForbiddenError` or another `ShoalError`.
    """
    if options.chunk_size is not None:
        check_sealed_chunk_size(options.chunk_size)
    scanned = _scan(path, options, disk, warn)
    entries = None
    file_pages = 0
    if scanned is not None:
        entries = [(e.path, e.size, e.executable) for e in scanned.files]
        file_pages = len(split_pages(encode_files(entries)))
    name = options.name or os.path.basename(os.path.abspath(path))
    size = disk_size(path, scanned, disk)
    chunk_size = options.chunk_size or choose_chunk_size(
        size, name=name, file_pages=file_pages
    )
    if scanned is None:
        source = SharedFiles.open_file(path, chunk_size, disk=disk)
    else:
        source = SharedFiles.open_folder(scanned, chunk_size, disk=disk)
    try:
        digests = hash_files(
            source,
            chunk_digest,
            scheme=SCHEME,
            cache=None if home is None else HashCache(home / "hashes", disk=disk),
            now_ns=time.time_ns(),
            progress=lambda done: on_hashed(done, source.chunks.size),
            stopped=stopped,
        )
        secret = None
        if home is not None and not options.public and not options.new_link:
            secret = user_secret(disk, home / "secret")
        is_random = secret is None and not options.public
        manifest = build_manifest(
            name,
            source.chunks.size,
            chunk_size,
            digests,
            entries,
            salt=os.urandom(SALT_SIZE) if is_random else None,
            secret=secret,
        )
    except BaseException:
        source.close()
        raise
    source.verify = manifest.hash_table.verifies
    return Built(manifest, source)


def disk_size(path: Path, scanned: ScannedFolder | None, disk: Disk) -> int:
    """Return the size of a share in bytes, before any of it is read."""
    if scanned is not None:
        return scanned.size
    found = disk.state_at(path, follow=True)
    return found.size if found is not None else 0


def _scan(
    path: Path, options: ShareOptions, disk: Disk, warn: Callable[[str], None]
) -> ScannedFolder | None:
    """Return the files of a folder; None if `path` is no folder."""
    found = disk.state_at(path, follow=True)
    if found is None or not found.is_directory:
        return None

    def check(relative: str) -> None:
        problem = path_problem(relative)
        if problem is not None:
            raise ValueError(problem)

    return scan_folder(
        path,
        disk=disk,
        include=options.include,
        exclude=options.exclude,
        warn=warn,
        check_path=check,
    )
