"""fsspec reads shares as `shoal://ID/path`."""

import os
import pickle
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import pytest

import shoal
from shoal.errors import NotFoundError, UsageError
from shoal.integrations.fsspec import ShoalFile, ShoalFileSystem
from tests.helpers.forking import in_child
from tests.helpers.sharing import LOOPBACK, Share, near

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
    ShoalFileSystem.clear_instance_cache()


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
    assert folder.uploaded == 3 * CHUNK


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


def test_every_form_of_url_is_parsed(folder: shoal.BlockingShare) -> None:
    top = id_of(folder)
    strip = ShoalFileSystem._strip_protocol
    forms = [
        f"shoal://{top}/a/b",
        f"shoal:{top}/a/b",
        f"{top}/a/b/",
        f"shoal://{top.upper()}/a/b",
        f"shoal://{top}?peer=127.0.0.1:9/a/b",
    ]
    assert {strip(form) for form in forms} == {f"{top}/a/b"}
    assert strip(forms[:2]) == [f"{top}/a/b"] * 2
    assert strip(f"shoal://{top}/what?#/x") == f"{top}/what?#/x"
    with pytest.raises(UsageError):
        fsspec.filesystem("shoal", **LOOPBACK).ls("shoal://nonsense/x")
    with pytest.raises(FileNotFoundError, match="Name a share"):
        fsspec.filesystem("shoal", **LOOPBACK).ls("shoal://")


def test_hints_are_used_only_with_use_hints(
    folder: shoal.BlockingShare,
) -> None:
    url = f"shoal://{id_of(folder)}?peer=127.0.0.1:{folder.port}/a.txt"
    with pytest.raises(NotFoundError):
        with fsspec.open(url, timeout=0.3, **LOOPBACK) as file:
            file.read()
    with fsspec.open(url, use_hints=True, **LOOPBACK) as file:
        assert file.read() == FILES["a.txt"]


def test_environment_variables_are_used(
    folder: shoal.BlockingShare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_LAN_ONLY", "1")
    monkeypatch.setenv("SHOAL_NO_LAN", "1")
    monkeypatch.setenv("SHOAL_INTERFACES", "127.0.0.1")
    monkeypatch.setenv("SHOAL_PEER", f"127.0.0.1:{folder.port}")
    with fsspec.open(f"shoal://{id_of(folder)}/a.txt") as file:
        assert file.read() == FILES["a.txt"]


def test_opening_for_writing_raises(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    for mode in ("wb", "ab", "xb", "w"):
        with pytest.raises(OSError, match="read-only"):
            fs.open(f"{id_of(folder)}/new", mode)


def test_file_systems_and_files_are_picklable(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    again = pickle.loads(pickle.dumps(fs))
    assert again == fs
    with fs.open(f"{id_of(folder)}/deep/er/b.bin") as file:
        file.seek(5 * CHUNK)
        with pickle.loads(pickle.dumps(file)) as copy:
            assert copy.read() == BIG[5 * CHUNK :]
    opened = fsspec.open(f"shoal://{id_of(folder)}/a.txt", **near(folder))
    with pickle.loads(pickle.dumps(opened)) as file:
        assert file.read() == FILES["a.txt"]


def test_threads_share_one_node(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    path = f"shoal://{id_of(folder)}/deep/er/b.bin"

    def read(position: int) -> bool:
        with fsspec.open(path, **near(folder)) as file:
            file.seek(position)
            return bool(file.read(CHUNK) == BIG[position : position + CHUNK])

    # The share's thread, and perhaps threads of earlier tests that are still ending.
    before = set(threading.enumerate())
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(0, len(BIG), 3000)))
    new = [each for each in threading.enumerate() if each not in before]
    assert [each.name for each in new].count("shoal") == 1
    assert folder.uploaded <= len(BIG) + CHUNK


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_reads_its_parents_files(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    path = f"{id_of(folder)}/deep/er/b.bin"
    with fs.open(path) as file:
        assert file.read(5) == BIG[:5]

        def work() -> None:
            assert file.read(5 * CHUNK) == BIG[5 : 5 + 5 * CHUNK]
            assert fs.cat_file(path, 0, 3) == BIG[:3]
            fresh = fsspec.filesystem("shoal", **near(folder))
            assert fresh.cat_file(path, -3) == BIG[-3:]

        assert in_child(work) == 0
        assert file.read() == BIG[5:]
