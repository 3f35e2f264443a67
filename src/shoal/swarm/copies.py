"""Open the copies that earlier runs shared or fetched.

Only the path and the manifest are taken from the catalogue; the files are verified.
The hashes of unchanged files come from the cache of hashes, so that a large copy is
read only once. Chunks of the cached ones are verified once more before they are sent.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.manifest import Manifest
from shoal.errors import ShoalError, VerificationError, told
from shoal.resources import Resources
from shoal.storage.catalogue_entry import Entry
from shoal.storage.disk.disk import Disk
from shoal.storage.download.completed import open_completed, open_target
from shoal.storage.shared.hash_cache import HashCache, hash_files
from shoal.storage.shared.shared_files import SharedFiles
from shoal.storage.store import ChunkReader
from shoal.swarm.build_share import SCHEME
from shoal.swarm.served_hashes import verify_by

__all__ = ["Holding", "is_there", "open_copy", "open_verified"]


class Holding(NamedTuple):
    """The chunks that this node has of one share, for its own readers."""

    manifest: Manifest
    store: ChunkReader


def is_there(entry: Entry, disk: Disk) -> bool:
    """Return True if the copy of an entry is complete, or has been."""
    return entry.made.is_complete or disk.state_at(entry.path) is not None


def open_copy(resources: Resources, share_id: bytes) -> Holding | None:
    """Open a copy in the catalogue to read chunks from, or return None; blocks.

    Each chunk is verified when it is read, so that the others need not be. The copy
    may be one of selected files.
    """
    disk, catalogue = resources.disk, resources.catalogue
    found = catalogue.find(share_id) if catalogue is not None else []
    found.sort(key=lambda entry: (entry.is_selection, -entry.time))
    for entry in found:
        if not is_there(entry, disk):
            continue
        try:
            source = _open_files(entry, disk)
        except (ShoalError, LookupError):
            continue  # it has been changed or removed, or its files are not known
        source.trusted = False
        return Holding(entry.manifest, source)
    return None


def open_verified(
    entry: Entry, disk: Disk, home: Path | None, stopped: Callable[[], bool]
) -> SharedFiles:
    """Open a copy that verifies; raises `VerificationError` otherwise."""
    manifest = entry.manifest
    try:
        source = _open_files(entry, disk)
    except (ShoalError, LookupError) as error:
        raise VerificationError(f"{entry.path} is not served: {error}") from error
    try:
        if entry.is_selection:
            is_right = bool(source.have.count)  # each is verified before it is sent
        else:
            is_right = _matches(source, manifest, disk, home, stopped)
    except BaseException:
        source.close()
        raise
    if not is_right:
        source.close()
        if entry.is_selection:
            raise VerificationError(
                f"{entry.path} has no complete chunk of its share, so nothing of it is "
                "served; fetch more files to serve them."
            )
        raise VerificationError(
            f"{entry.path} has changed and is not served; share it again, or remove "
            f"it from the list with {told('shoal forget', 'the command shoal forget')}."
        )
    return source


def _open_files(entry: Entry, disk: Disk) -> SharedFiles:
    """Open the files of a copy, unverified.

    Raises `ShoalError` if they are others, `LookupError` if it is not known which.
    """
    manifest, chosen = entry.manifest, entry.chosen
    if chosen is not None:
        source = open_completed(
            entry.path,
            manifest.chunks,
            disk=disk,
            files=chosen,
            selected=chosen.selected,
            as_one=entry.made.file is not None,
        )
    else:
        files = manifest.files if manifest.root.is_folder else None
        source = open_target(
            entry.path,
            manifest.chunks,
            disk=disk,
            files=files,
            parts=entry.parts,
            follows_links=entry.made.follows_links,
        )
    verify_by(source, manifest)
    return source


def _matches(
    source: SharedFiles,
    manifest: Manifest,
    disk: Disk,
    home: Path | None,
    stopped: Callable[[], bool],
) -> bool:
    """Return True if the hashes of all chunks are those of the manifest."""
    digests = hash_files(
        source,
        chunk_digest,
        scheme=SCHEME,
        cache=HashCache.for_share(source, home, disk),
        now_ns=time.time_ns(),
        stopped=stopped,
    )
    return digests == manifest.hash_table.digests()
