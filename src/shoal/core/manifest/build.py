"""Build the manifest of a share from its files and the hashes of its chunks; pure."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from msgspec.structs import replace

from shoal.core.crypto.hashes import DIGEST_SIZE, root_digest
from shoal.core.manifest.chunk_sizes import check_chunk_count, check_sealed_chunk_size
from shoal.core.manifest.chunks import Chunks
from shoal.core.manifest.collisions import problem_of_all
from shoal.core.manifest.file_pages import (
    MAX_FILES,
    FileEntry,
    FilePagesBuilder,
    FilesTop,
)
from shoal.core.manifest.hash_table import build_hash_pages
from shoal.core.manifest.manifest import Manifest
from shoal.core.manifest.pages import PageKey
from shoal.core.manifest.paths import name_problem, plain_problem, shown
from shoal.core.manifest.root import VERSION, Root, derive_salt, encode_root
from shoal.errors import UsageError, option

__all__ = [
    "BuiltFiles",
    "build_files",
    "build_manifest",
    "check_paths",
    "check_share_name",
]


def check_share_name(name: str) -> None:
    """Raise `UsageError` unless a share can have this name."""
    problem = name_problem(name)
    if problem is not None:
        raise UsageError(
            f"The name {shown(name)} {problem}; choose another one with "
            f"{option('--name')}."
        )


class BuiltFiles(NamedTuple):
    """The file table of a share that is being made."""

    top: FilesTop
    size: int
    """The bytes of all files."""
    pages: dict[PageKey, bytes]


def build_files(entries: Iterable[FileEntry]) -> BuiltFiles:
    """Return the file table of these files, which are sorted and checked already.

    Memory grows with the bytes of the pages, not with the number of files.
    """
    builder = FilePagesBuilder()
    for path, size, executable in entries:
        builder.add(path, size, executable)
    top = builder.finish()
    return BuiltFiles(top, builder.size, builder.pages)


def build_manifest(
    name: str,
    size: int,
    chunk_size: int,
    chunk_digests: bytes,
    files: Sequence[FileEntry] | BuiltFiles | None = None,
    *,
    salt: bytes | None = None,
    secret: bytes | None = None,
) -> Manifest:
    """Return the complete manifest of a share whose chunks have these hashes.

    `files` are those of a folder, sorted by path; their bytes follow in this order.
    With `secret`, the salt is derived from it; with neither `salt` nor `secret`, the
    share is public. Raises `UsageError` if these files cannot be shared.
    """
    check_share_name(name)
    if salt is not None and secret is not None:
        raise ValueError("a salt is either given or derived")
    check_sealed_chunk_size(chunk_size)
    chunks = Chunks(size, chunk_size)
    check_chunk_count(chunks)
    if len(chunk_digests) != DIGEST_SIZE * chunks.count:
        raise ValueError("there must be one hash for every chunk")
    if files is not None and not isinstance(files, BuiltFiles):
        _check_files(files)
        files = build_files(files)
    if files is not None and files.size != size:
        raise ValueError("the sizes of the files do not add up")
    hashes, pages = build_hash_pages(chunk_digests)
    root = Root(
        version=VERSION,
        name=name,
        size=size,
        chunk_size=chunk_size,
        hashes=hashes,
        files=None if files is None else files.top,
    )
    if secret is not None:
        salt = derive_salt(secret, encode_root(root))
    record = encode_root(replace(root, salt=salt))
    manifest = Manifest(root_digest(record), record)
    if files is not None:
        pages |= files.pages
    for key in sorted(pages, key=lambda key: -key.level):
        if not manifest.add_page(key, pages[key]):
            raise AssertionError("a page that was just hashed does not verify")
    return manifest


def check_paths(pages: Callable[[], Iterable[Sequence[str]]]) -> None:
    """Raise `UsageError`, which names the path, for paths that no share may have.

    `pages` returns an iterator of all paths, each valid by itself, in their order.
    """
    problem = problem_of_all(pages)
    if problem is not None:
        raise _not_shared(problem)


def _not_shared(problem: str) -> UsageError:
    return UsageError(
        f"This folder cannot be shared as it is: {problem}. Rename a file, or leave "
        f"some out with {option('--exclude')}."
    )


def _check_files(files: Sequence[FileEntry]) -> None:
    if len(files) > MAX_FILES:
        raise UsageError(
            f"This folder has {len(files)} files, more than {MAX_FILES}; share an "
            f"archive of it, or leave some out with {option('--exclude')}."
        )
    paths = [path for path, _, _ in files]
    problem = plain_problem(paths)
    if problem is not None:
        raise _not_shared(problem)
    check_paths(lambda: [sorted(paths)])
    is_sorted = all(one < other for one, other in pairwise(paths))
    if not is_sorted or min((size for _, size, _ in files), default=0) < 0:
        raise ValueError("files must be sorted by path and have a size")
