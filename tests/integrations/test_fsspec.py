"""fsspec reads shares as `shoal://ID/path`."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree
from threading import Barrier
from typing import Any

import fsspec
import pytest
from fsspec.callbacks import Callback
from fsspec.implementations.cached import (
    CachingFileSystem,
    SimpleCacheFileSystem,
    WholeFileCacheFileSystem,
)
from fsspec.implementations.dirfs import DirFileSystem
from upath import UPath

import shoal
from shoal.errors import NotFoundError
from shoal.integrations.fsspec import ShoalFile, ShoalFileSystem
from shoal.integrations.fsspec_file import DATE
from shoal.integrations.upath import ShoalPath
from tests.helpers.sharing import LOOPBACK, Share, near
from tests.integrations.conftest import BIG, CHUNK, FILES, id_of


def test_ls_lists_folders(fs: ShoalFileSystem, folder: shoal.BlockingShare) -> None:
    top = id_of(folder)
    assert fs.ls(top, detail=False) == [
        f"{top}/a.txt",
        f"{top}/deep",
        f"{top}/empty",
    ]
    assert fs.ls(f"shoal://{top}/deep/") == [
        {
            "name": f"{top}/deep/c.csv",
            "size": 8,
            "type": "file",
            "executable": False,
        },
        {
            "name": f"{top}/deep/er",
            "size": 0,
            "type": "directory",
            "executable": False,
        },
    ]
    assert fs.ls(f"{top}/a.txt", detail=False) == [f"{top}/a.txt"]
    assert fs.find(top) == sorted(f"{top}/{path}" for path in FILES)
    assert fs.glob(f"{top}/**/*.csv") == [f"{top}/deep/c.csv"]
    assert fs.glob(f"{top}/deep/*") == [f"{top}/deep/c.csv", f"{top}/deep/er"]
    assert fs.du(top) == sum(map(len, FILES.values()))
    walked = [names for _, _, names in fs.walk(top)]
    assert sorted(sum(walked, [])) == sorted(os.path.basename(p) for p in FILES)


def test_info_describes_files_and_folders(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    top = id_of(folder)
    assert fs.info(f"{top}/a.txt")["size"] == 13
    assert fs.isdir(f"{top}/deep/er")
    assert fs.isfile(f"{top}/deep/er/odd ?*[x].txt")
    assert not fs.exists(f"{top}/deep/e")
    assert fs.sizes([f"{top}/a.txt", f"{top}/empty"]) == [13, 0]
    assert fs.checksum(f"{top}/a.txt") == fs.ukey(f"shoal://{top.upper()}/a.txt")
    for look in (fs.ls, fs.info, fs.cat_file, fs.open):
        with pytest.raises(FileNotFoundError):
            look(f"{top}/nothing")
    with pytest.raises(IsADirectoryError):
        fs.open(f"{top}/deep")


def test_files_are_read_whole_in_ranges_and_as_text(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    top = id_of(folder)
    paths = [f"{top}/{path}" for path in FILES]
    assert [fs.cat_file(path) for path in paths] == list(FILES.values())
    assert fs.cat(f"{top}/deep/c.csv") == b"x,y\n1,2\n"
    big = f"{top}/deep/er/b.bin"
    assert fs.cat_file(big, 5, 9) == BIG[5:9]
    assert fs.cat_file(big, -7) == BIG[-7:]
    assert fs.cat_file(big, 2 * CHUNK, -CHUNK) == BIG[2 * CHUNK : -CHUNK]
    assert fs.head(big, 3) + fs.tail(big, 3) == BIG[:3] + BIG[-3:]
    assert fs.read_text(f"{top}/a.txt") == "first\nsecond\n"
    with fs.open(f"{top}/a.txt") as file:
        assert isinstance(file, ShoalFile)
        assert file.readlines() == [b"first\n", b"second\n"]
    with fs.open(f"{top}/a.txt", "r") as text:
        assert list(text) == ["first\n", "second\n"]


def test_every_path_has_the_same_date(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    top = id_of(folder)
    for path in (f"{top}/a.txt", f"{top}/deep", top):
        assert fs.modified(path) == fs.created(path) == DATE
        assert fs.info(path)["mtime"] == DATE.timestamp()
    assert DATE.tzinfo is not None
    with pytest.raises(FileNotFoundError):
        fs.modified(f"{top}/nothing")


def test_that_nobody_answers_is_not_that_a_path_does_not_exist(
    folder: shoal.BlockingShare, tmp_path: Path
) -> None:
    top = id_of(folder)
    rmtree(Path(os.environ["XDG_DATA_HOME"]) / "shoal/catalogue")  # has the names
    path, url = f"{top}/a.txt", f"shoal://{top}/a.txt"
    options = {**LOOPBACK, "timeout": 0.2}
    fs = ShoalFileSystem(**options)
    cache: dict[str, Any] = {"cache_storage": str(tmp_path)}
    looks: list[Any] = [fs.info, fs.exists, fs.isfile, fs.isdir, fs.lexists]
    looks += [fs.glob, fs.find]
    looks += [fs.modified, fs.get_mapper(top).__contains__]
    looks += [DirFileSystem(top, fs).isfile, DirFileSystem(top, fs).exists]
    looks += [SimpleCacheFileSystem(fs=fs, **cache).open]
    looks += [WholeFileCacheFileSystem(fs=fs, **cache).open]
    for look in looks:
        with pytest.raises(NotFoundError):
            look(path)
    for method in ("exists", "is_file", "is_dir", "stat", "read_bytes"):
        with pytest.raises(NotFoundError):
            getattr(UPath(url, **options), method)()


def test_a_call_that_follows_failed_ones_dials_a_peer_at_once(
    tmp_path: Path, share: Share, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data"
    path.write_bytes(BIG)
    shared = share(path, chunk_size=CHUNK)
    rmtree(Path(os.environ["XDG_DATA_HOME"]) / "shoal/catalogue")
    link, port, address = shared.link, shared.port, near(shared)
    shared.close()
    # However long the back-off, the next call does not wait for its end.
    monkeypatch.setattr("shoal.core.peerbook.FIRST_BACKOFF", 3600.0)
    monkeypatch.setattr("shoal.core.peerbook.MAX_BACKOFF", 3600.0)
    monkeypatch.setattr("shoal.core.peerbook.KNOWN_BACKOFF", 3600.0)
    monkeypatch.setattr("shoal.core.peerbook.LEFT_TIME", 3600.0)
    fs = ShoalFileSystem(**address, timeout=0.5)
    top = str(link).removeprefix("shoal:")
    with pytest.raises(NotFoundError):
        fs.ls(top)
    shared = share(path, chunk_size=CHUNK, port=port)
    with fs.open(f"{top}/data") as file:
        assert file.read(5) == BIG[:5]
        shared.close()
        with pytest.raises(NotFoundError):
            file.read()
        share(path, chunk_size=CHUNK, port=port)
        file.seek(0)
        assert file.read() == BIG


@pytest.mark.program(
    *("readers", "universal-pathlib", "pip:universal-pathlib"),
    "UPath, as a local path",
)
def test_a_universal_path_names_files(folder: shoal.BlockingShare) -> None:
    top = id_of(folder)
    path = UPath(f"shoal://{top}", **near(folder))
    assert isinstance(path, ShoalPath)
    assert sorted(each.name for each in path.iterdir()) == ["a.txt", "deep", "empty"]
    assert (path / "deep/c.csv").read_text() == "x,y\n1,2\n"
    assert (path / "a.txt").parts == (top, "a.txt")
    assert (path / "a.txt").stat().st_mtime == DATE.timestamp()
    assert [each.name for each in path.rglob("*.csv")] == ["c.csv"]
    assert not (path / "nothing").exists()
    with pytest.raises(OSError, match="read-only"):
        (path / "new").write_text("x")


def test_cat_ranges_fetches_each_chunk_once(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    big = f"{id_of(folder)}/deep/er/b.bin"
    starts = [i * 1000 for i in range(100)]
    ends = [start + 500 for start in starts]
    found = fs.cat_ranges([big] * 100, starts, ends)
    assert found == [BIG[s:e] for s, e in zip(starts, ends, strict=True)]
    assert folder.uploaded <= 8 * CHUNK


def test_cat_ranges_returns_or_raises_errors(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    paths = [f"{id_of(folder)}/{name}" for name in ("a.txt", "nothing")]
    good, bad = fs.cat_ranges(paths, 0, 5)
    assert good == b"first"
    assert isinstance(bad, FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(paths, 0, 5, on_error="raise")
    with pytest.raises(TypeError):
        fs.cat_ranges("a", 0, 5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="each path"):
        fs.cat_ranges(paths, [0], 5)


@pytest.mark.parametrize("cache", ["none", "readahead", "blockcache", "bytes", "all"])
@pytest.mark.program("readers", "fsspec", "pip:fsspec", "each of its caches")
def test_every_cache_type_of_fsspec_works(
    fs: ShoalFileSystem, folder: shoal.BlockingShare, cache: str
) -> None:
    path = f"{id_of(folder)}/deep/er/b.bin"
    with fs.open(path, cache_type=cache, block_size=3 * CHUNK) as file:
        file.seek(CHUNK)
        assert file.read(10) == BIG[CHUNK : CHUNK + 10]
        file.seek(0)
        assert file.read() == BIG


def test_random_reads_fetch_only_the_chunks_read(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    with fs.open(f"{id_of(folder)}/deep/er/b.bin") as file:
        for index in (9, 3, 15):
            file.seek(index * CHUNK + 100)
            file.read(50)
    assert folder.uploaded <= 3 * CHUNK


def test_get_copies_a_folder(
    fs: ShoalFileSystem, folder: shoal.BlockingShare, tmp_path: Path
) -> None:
    fs.get(id_of(folder), str(tmp_path / "out"), recursive=True)
    got = {
        str(path.relative_to(tmp_path / "out")): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert got == FILES


@pytest.mark.program("readers", "fsspec", "pip:fsspec", "copies of files")
def test_a_copy_gets_its_name_when_it_is_complete(
    fs: ShoalFileSystem, folder: shoal.BlockingShare, tmp_path: Path
) -> None:
    source, copy = f"{id_of(folder)}/deep/er/b.bin", tmp_path / "new/copy"
    sizes: list[int] = []

    class Watch(Callback):
        def relative_update(self, inc: int = 1) -> None:
            sizes.append(inc)
            assert not copy.exists()
            if len(sizes) == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fs.get_file(source, copy, callback=Watch())
    assert os.listdir(copy.parent) == []
    fs.get_file(source, copy, callback=Watch())
    assert copy.read_bytes() == BIG
    assert sum(sizes) == 2 * len(BIG)
    assert os.listdir(copy.parent) == ["copy"]
    copy.chmod(0o640)
    (tmp_path / "link").symlink_to(copy)
    fs.get_file(f"{id_of(folder)}/a.txt", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert copy.read_bytes() == FILES["a.txt"]
    assert copy.stat().st_mode & 0o777 == 0o640
    out = io.BytesIO()
    fs.get_file(source, out)
    fs.get_file(source, "/dev/null")
    assert out.getvalue() == BIG
    fs.get_file(f"{id_of(folder)}/deep", str(tmp_path / "empty"))
    assert os.listdir(tmp_path / "empty") == []
    with pytest.raises(IsADirectoryError):
        fs.get_file(source, tmp_path)


@pytest.mark.parametrize("kind", [SimpleCacheFileSystem, WholeFileCacheFileSystem])
def test_threads_that_share_a_cache_of_fsspec_read_whole_files(
    kind: type, fs: ShoalFileSystem, folder: shoal.BlockingShare, tmp_path: Path
) -> None:
    path = f"{id_of(folder)}/deep/er/b.bin"
    turn = Barrier(8, timeout=20)

    def read(number: int) -> bool:
        for attempt in range(10):
            cache = kind(fs=fs, cache_storage=str(tmp_path / str(attempt)))
            turn.wait()
            with cache.open(path) as file:
                if file.read() != BIG:
                    return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


# fsspec does not close the file of the cache.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_block_cache_of_fsspec_keeps_blocks_on_the_disk(
    fs: ShoalFileSystem, folder: shoal.BlockingShare, tmp_path: Path
) -> None:
    path = f"{id_of(folder)}/deep/er/b.bin"
    cached = CachingFileSystem(fs=fs, cache_storage=str(tmp_path / "kept"))
    with cached.open(path, block_size=CHUNK) as file:
        file.seek(3 * CHUNK)
        assert file.read(9) == BIG[3 * CHUNK : 3 * CHUNK + 9]
        assert file.cache.blocks == {3}
    kept = [each.read_bytes() for each in (tmp_path / "kept").iterdir()]
    assert any(each[3 * CHUNK :][:9] == BIG[3 * CHUNK :][:9] for each in kept)


def test_a_single_file_is_found_with_and_without_its_name(
    tmp_path: Path, share: Share
) -> None:
    path = tmp_path / "one.bin"
    path.write_bytes(BIG)
    one = share(path)
    fs = fsspec.filesystem("shoal", **near(one))
    top = id_of(one)
    assert fs.ls(top, detail=False) == [f"{top}/one.bin"]
    assert fs.cat_file(f"{top}/one.bin") == fs.cat_file(top) == BIG
    with fsspec.open(f"shoal://{top}", **near(one)) as file:
        assert file.read(9) == BIG[:9]
    with fsspec.open(f"shoal://{top}/one.bin", **near(one)) as file:
        assert file.read() == BIG
