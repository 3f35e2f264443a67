"""A shared folder, and a file system of fsspec that reads it."""

import gc
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.implementations.cached import (
    CachingFileSystem,
    SimpleCacheFileSystem,
    WholeFileCacheFileSystem,
)
from fsspec.implementations.dirfs import DirFileSystem

import shoal
from shoal.integrations.fsspec import ShoalFileSystem
from tests.helpers.sharing import Share, near

CHUNK = 16_384
FILES = {
    "a.txt": b"first\nsecond\n",
    "deep/er/b.bin": random.Random(2).randbytes(20 * CHUNK),
    "deep/er/odd ?*[x].txt": b"odd",
    "deep/c.csv": b"x,y\n1,2\n",
    "empty": b"",
}
BIG = FILES["deep/er/b.bin"]


@pytest.fixture(autouse=True)
def _clear_cache() -> Iterator[None]:
    """Clear the file systems that fsspec would keep until the program ends."""
    yield
    kinds = (SimpleCacheFileSystem, WholeFileCacheFileSystem, CachingFileSystem)
    for kind in (ShoalFileSystem, DirFileSystem, *kinds):
        kind.clear_instance_cache()
    gc.collect()


@pytest.fixture
def folder(tmp_path: Path, share: Share) -> shoal.BlockingShare:
    """Share a folder."""
    top = tmp_path / "model"
    for path, data in FILES.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(data)
    return share(top, chunk_size=CHUNK)


@pytest.fixture
def fs(folder: shoal.BlockingShare) -> ShoalFileSystem:
    """Return a file system that connects to the folder's peer."""
    return ShoalFileSystem(**near(folder))


def id_of(share: shoal.BlockingShare) -> str:
    """Return a share's link without its scheme, as in a `shoal://` URL."""
    return str(share.link).removeprefix("shoal:")
