"""What was fetched and is given on: the user's own files from now on.

He may edit, shorten or delete them as he likes. So they are read like any source: only
read, and no chunk leaves before it has verified once in the state the files are in.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from shoal.core.manifest.chunks import Bitfield, Chunks
from shoal.storage.disk.disk import Disk, Identity
from shoal.storage.extents import Described, Extents
from shoal.storage.source.scan import Tree, TreeFile
from shoal.storage.source.source import SourceStore

__all__ = ["lasting_chunks", "open_seeded"]


def lasting_chunks(
    chunks: Chunks, files: Sequence[Described], selected: Collection[int]
) -> Bitfield:
    """Return the chunks that are there when only the `selected` of all files are.

    `selected` are numbers of files. No byte of those chunks is of another file.
    """
    others = set(range(len(files))) - set(selected)
    extents = Extents(entry.size for entry in files)
    return _without(chunks, _covering(chunks, extents, others))


def open_seeded(
    target: Path,
    chunks: Chunks,
    *,
    disk: Disk,
    files: Sequence[Described] | None = None,
    selected: Collection[int] | None = None,
) -> SourceStore:
    """Read what was fetched to `target`; of a folder of `files` only the `selected`.

    Chunks that reach into other files, or into such as have gone already, are not
    there. `verify` has to be set before any chunk is read. Raises `ShoalError` when a
    single file has gone.
    """
    if files is None:
        source = SourceStore.open([target], chunks.chunk_size, disk=disk, follow=False)
        source.trusted = False
        return source
    taken = None if selected is None else set(selected)
    found: list[TreeFile] = []
    missing: list[int] = []
    for number, entry in enumerate(files):
        location = target / entry.path
        state = None
        if taken is None or number in taken:
            state = disk.identity_at(location)
        if state is None or not state.is_file or state.size != entry.size:
            missing.append(number)
            state = _nothing(entry.size)
        found.append(TreeFile(entry.path, str(location), state))
    tree = Tree(target.name, tuple(found))
    source = SourceStore.open_tree(tree, chunks.chunk_size, disk=disk, trusted=False)
    if missing:
        extents = Extents(entry.size for entry in files)
        source.have = _without(chunks, _covering(chunks, extents, missing))
    return source


def _nothing(size: int) -> Identity:
    """Return the state of a file that no file is ever in."""
    return Identity(-1, -1, size, 0, 0, 0, 0, 0)


def _covering(
    chunks: Chunks, extents: Extents, numbers: Iterable[int]
) -> Iterator[int]:
    """Yield the chunks that reach into some of the files."""
    for number in numbers:
        start = extents.start(number)
        yield from chunks.covering(start, start + extents.sizes[number])


def _without(chunks: Chunks, lost: Iterable[int]) -> Bitfield:
    left = Bitfield(chunks.count)
    gone = set(lost)
    for index in range(chunks.count):
        if index not in gone:
            left.add(index)
    return left
