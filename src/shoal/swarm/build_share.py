"""Build a sealed share of a file or folder: scan it, hash it, describe it.

The result is a `Manifest`, whose id is in the link, and the store that chunks are read
from. Every function blocks.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from shoal.config.arguments import ShareOptions
from shoal.core.crypto.hashes import chunk_digest
from shoal.core.manifest.build import (
    BuiltFiles,
    build_files,
    build_manifest,
    check_paths,
    check_share_name,
)
from shoal.core.manifest.chunk_sizes import (
    check_chunk_count,
    check_sealed_chunk_size,
    choose_chunk_size,
)
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.paths import find_problem
from shoal.core.manifest.root import SALT_SIZE
from shoal.errors import ShoalError, UsageError, option
from shoal.origin.parts import Part
from shoal.storage.catalogue_entry import Made
from shoal.storage.disk.disk import Disk
from shoal.storage.home import user_secret
from shoal.storage.shared.globs import patterns_ignored
from shoal.storage.shared.hash_cache import HashCache, hash_files
from shoal.storage.shared.hashing import hash_chunks
from shoal.storage.shared.scan import scan_folder
from shoal.storage.shared.scanned import ScannedFiles, ScannedFolder
from shoal.storage.shared.shared_files import SharedFiles
from shoal.storage.shared.spool import Spooled, SpooledFile, remove_spooled
from shoal.swarm.served_hashes import verify_by

__all__ = [
    "SCHEME",
    "Built",
    "Given",
    "build_share",
    "build_spooled",
    "check_pipe",
    "first_file",
    "how_made",
]

SCHEME = "shoal v2 chunk"
"""The name of the hash of a chunk, for the cache of hashes."""


_BATCH = 1000  # paths that are checked together


class Given(NamedTuple):
    """What the user shares: a file, a folder, or several of them in one folder."""

    place: Path
    """The file or folder; for several, the folder that all of them are in."""
    parts: tuple[Path, ...] = ()
    """The absolute paths of several, none for one."""

    @classmethod
    def of(cls, paths: Sequence[Path], name: str | None) -> "Given":
        """Take one path, or several; raises `UsageError` if these need a name."""
        if len(paths) == 1:
            return cls(paths[0])
        parts = tuple(dict.fromkeys(Path(os.path.abspath(path)) for path in paths))
        if len(parts) == 1:
            return cls(parts[0])
        unnamed = next((part for part in parts if not part.name), None)
        if unnamed is not None:
            raise UsageError(f"{unnamed} has no name; share a folder in it instead.")
        above = Path(os.path.commonpath([part.parent for part in parts]))
        if name is None and any(part.parent != above for part in parts):
            raise UsageError(
                "These paths are in several folders; name the folder that receivers "
                f"get with {option('--name')}."
            )
        return cls(above, parts)

    @property
    def places(self) -> tuple[Path, ...]:
        """Return the paths of all that is shared."""
        return self.parts or (self.place,)


class Built(NamedTuple):
    """The result of building a share."""

    manifest: Manifest
    source: SharedFiles


def build_share(
    given: Given,
    options: ShareOptions,
    *,
    disk: Disk,
    home: Path | None,
    on_hashed: Callable[[int, int], None],
    stopped: Callable[[], bool],
    warn: Callable[[str], None],
    earlier: Sequence[Manifest] = (),
) -> Built:
    """Scan and hash what is `given`.

    `home` is the folder for this user's secret and the hashes of earlier runs; with
    None neither is used. `earlier` are the manifests of earlier shares of the path; the
    first one that is still the same gets its link again. Raises `UsageError`,
    `ForbiddenError` or another `ShoalError`.
    """
    if options.chunk_size is not None:
        check_sealed_chunk_size(options.chunk_size)
    path, scanned = given.place, _scan(given, options, disk, warn)

    def hash_source(source: SharedFiles) -> bytes:
        return hash_files(
            source,
            chunk_digest,
            scheme=SCHEME,
            cache=HashCache.for_share(source, home, disk),
            now_ns=time.time_ns(),
            progress=lambda done: on_hashed(done, source.chunks.size),
            stopped=stopped,
        )

    # Everything that can be refused is refused before hashing, which can take hours.
    # A copy that is still the same keeps its name, so the one at `path` may be any.
    copies = [each for each in earlier if _may_be(each, options, scanned)]
    plan = None if copies else _make_plan(path, options, scanned, disk)
    for manifest in copies:
        source = _open(path, scanned, manifest.root.chunk_size, disk)
        with _closing_on_error(source):
            is_same = source.chunks == manifest.chunks
            if is_same and hash_source(source) == manifest.hash_table.digests():
                return _built(manifest, source)
        source.close()
    if plan is None:
        plan = _make_plan(path, options, scanned, disk)
    source = _open(path, scanned, plan.chunk_size, disk)
    with _closing_on_error(source):
        digests = hash_source(source)
        return _describe(source, plan, digests, options, disk, home, warn)


def how_made(given: Given, options: ShareOptions) -> Made:
    """Return how a share with these options is made."""
    return Made(
        is_shared=True,
        include=options.include,
        exclude=options.exclude,
        parts=tuple(map(os.fsencode, given.parts)),
        follows_links=options.follow_symlinks,
        is_new_link=options.new_link,
    )


def check_pipe(options: ShareOptions) -> None:
    """Raise `UsageError` unless a pipe can be shared with these options."""
    if options.name is None:
        raise UsageError(
            f"A pipe has no name; give its data one with {option('--name')}."
        )
    check_share_name(options.name)
    if options.chunk_size is not None:
        check_sealed_chunk_size(options.chunk_size)


def build_spooled(
    spooled: Spooled,
    options: ShareOptions,
    *,
    disk: Disk,
    home: Path,
    warn: Callable[[str], None],
) -> Built:
    """Describe what a pipe has yielded; the file is removed if that fails.

    Raises `UsageError` or another `ShoalError`.
    """
    try:
        plan = _plan_of(options.name or "", spooled.size, None, options)
        source = SpooledFile.of(spooled, plan.chunk_size, disk)
    except BaseException:
        remove_spooled(spooled, disk)
        raise
    with _closing_on_error(source):
        digests = spooled.digests(source.chunks)
        if digests is None:
            digests = hash_chunks(source, chunk_digest)
        return _describe(source, plan, digests, options, disk, home, warn)


class _Plan(NamedTuple):
    """What a share will be, as far as that is known before hashing."""

    name: str
    chunk_size: int
    files: BuiltFiles | None
    """The file table of a folder."""


def _make_plan(
    path: Path, options: ShareOptions, scanned: ScannedFolder | None, disk: Disk
) -> _Plan:
    """Choose name and chunk size; raise `UsageError` if no share can have them."""
    files = None
    if scanned is not None:
        check_paths(lambda: _paths(scanned.files))
        files = build_files(scanned.files.entries())
    size = disk_size(path, scanned, disk)
    return _plan_of(_name(path, options), size, files, options)


def _plan_of(
    name: str, size: int, files: BuiltFiles | None, options: ShareOptions
) -> _Plan:
    check_share_name(name)
    chunk_size = options.chunk_size or choose_chunk_size(size)
    check_chunk_count(Chunks(size, chunk_size))
    return _Plan(name, chunk_size, files)


def _describe(
    source: SharedFiles,
    plan: _Plan,
    digests: bytes,
    options: ShareOptions,
    disk: Disk,
    home: Path | None,
    warn: Callable[[str], None],
) -> Built:
    """Return the manifest of hashed files, with the salt that the options ask for."""
    wants_secret = home is not None and not (options.public or options.new_link)
    secret = _secret(disk, home, warn) if wants_secret and home else None
    is_random = secret is None and not options.public
    salt = os.urandom(SALT_SIZE) if is_random else None
    size, chunk_size = source.chunks.size, plan.chunk_size
    manifest = build_manifest(
        plan.name, size, chunk_size, digests, plan.files, salt=salt, secret=secret
    )
    return _built(manifest, source)


def _paths(files: ScannedFiles) -> Iterator[Sequence[str]]:
    for start in range(0, len(files), _BATCH):
        yield files.paths(start, min(start + _BATCH, len(files)))


def _name(path: Path, options: ShareOptions) -> str:
    return options.name or os.path.basename(os.path.abspath(path))


def _built(manifest: Manifest, source: SharedFiles) -> Built:
    verify_by(source, manifest)
    return Built(manifest, source)


@contextmanager
def _closing_on_error(source: SharedFiles) -> Iterator[None]:
    try:
        yield
    except BaseException:
        source.close()
        raise


def _open(
    path: Path, scanned: ScannedFolder | None, chunk_size: int, disk: Disk
) -> SharedFiles:
    if scanned is None:
        return SharedFiles.open_file(path, chunk_size, disk=disk)
    return SharedFiles.open_folder(scanned, chunk_size, disk=disk)


def _may_be(
    manifest: Manifest, options: ShareOptions, scanned: ScannedFolder | None
) -> bool:
    """Return True if a share with these options can be that of a manifest.

    Whether a file may be executed is not compared: a copy may have lost that.
    """
    root = manifest.root
    is_asked_for = (
        options.name in (None, root.name)
        and options.chunk_size in (None, root.chunk_size)
        and not (options.public or options.new_link)
    )
    if not is_asked_for or not manifest.is_complete:
        return False
    if scanned is None:
        return not root.is_folder
    if not root.is_folder or len(scanned.files) != root.file_count:
        return False
    pairs = zip(scanned.files.entries(), manifest.files, strict=True)
    return all(entry[:2] == (file.path, file.size) for entry, file in pairs)


def _secret(disk: Disk, home: Path, warn: Callable[[str], None]) -> bytes | None:
    """Return the user's secret; without one, tell the user what follows."""
    try:
        return user_secret(disk, home / "secret")
    except ShoalError as error:
        warn(
            f"This share will have a different link at the next start: {error} Set "
            "XDG_DATA_HOME to a folder that you can write to."
        )
        return None


def disk_size(path: Path, scanned: ScannedFolder | None, disk: Disk) -> int:
    """Return the size of a share in bytes, before any of it is read."""
    if scanned is not None:
        return scanned.size
    found = disk.state_at(path, follow=True)
    return found.size if found is not None else 0


def first_file(given: Given, options: ShareOptions, disk: Disk) -> Part | None:
    """Return the first file of a share that has bytes, as an origin should have it."""
    path, scanned = given.place, _scan(given, options, disk, lambda message: None)
    name = _name(path, options)
    if scanned is None:
        size = disk_size(path, None, disk)
        return Part("", name, 0, 1, size) if size else None
    files = (Part(f.path, name, 0, 1, f.size) for f in scanned.files if f.size)
    return next(files, None)


def _scan(
    given: Given, options: ShareOptions, disk: Disk, warn: Callable[[str], None]
) -> ScannedFolder | None:
    """Return the files of a folder or of several paths; None for one file."""
    found = disk.state_at(given.place, follow=True)
    if found is None or not (found.is_directory or given.parts):
        if options.include or options.exclude:
            warn(patterns_ignored())
        return None
    return scan_folder(
        given.place,
        disk=disk,
        include=options.include,
        exclude=options.exclude,
        warn=warn,
        find_problem=find_problem,
        parts=given.parts,
        follows_links=options.follow_symlinks,
    )
