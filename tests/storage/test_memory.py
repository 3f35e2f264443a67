"""Chunks in memory, and that every store is what the protocols say."""

from pathlib import Path

import pytest

from shoal.core.manifest.chunks import Chunks
from shoal.storage.download.filestore import FileStore
from shoal.storage.source.source import SourceStore
from shoal.storage.store import ChunkReader, ChunkStore, MemoryStore
from tests.helpers.faulty_disk import FaultyDisk


def test_chunks_go_in_and_come_out() -> None:
    store = MemoryStore(Chunks(5, 2))
    buffer = bytearray(b"cd")
    store.put_many([(1, buffer), (2, b"e")])
    buffer[:] = b"??"
    store.put(2, b"x")
    assert list(store.have) == [1, 2]
    assert store.get(1) == store.get_now(1) == b"cd"
    assert store.get_many_now([2, 1]) == [b"e", b"cd"]
    with pytest.raises(KeyError):
        store.get(0)
    with pytest.raises(ValueError, match="3 bytes instead of 2"):
        store.put(0, b"abc")
    store.close()


def test_every_store_is_a_store() -> None:
    """What this says is said to mypy."""
    disk = FaultyDisk(Path("/"))
    chunks = Chunks(5, 2)
    stores: list[ChunkStore] = [
        MemoryStore(chunks),
        FileStore.open(Path("/file"), bytes(32), chunks, disk=disk),
    ]
    readers: list[ChunkReader] = [*stores, SourceStore.open([], 2, disk=disk)]
    assert len(readers) == 3
