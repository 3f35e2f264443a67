"""fsspec reads shares as `shoal://ID/path`."""

import errno
import gc
import io
import os
import pickle
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree
from threading import Barrier
from typing import Any

import fsspec
import pytest
from fsspec.callbacks import Callback
from fsspec.config import set_conf_env, set_conf_files
from fsspec.implementations.cached import (
    CachingFileSystem,
    SimpleCacheFileSystem,
    WholeFileCacheFileSystem,
)
from fsspec.implementations.dirfs import DirFileSystem
from upath import UPath

import shoal
from shoal.errors import NotFoundError, UsageError
from shoal.integrations.fsspec import ShoalFile, ShoalFileSystem
from shoal.integrations.share_tree import DATE
from shoal.integrations.upath import ShoalPath
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


def test_every_form_of_url_is_parsed(folder: shoal.BlockingShare) -> None:
    top = id_of(folder)
    strip = ShoalFileSystem._strip_protocol
    forms = [
        f"shoal://{top}/a/b",
        f"shoal:{top}/a/b",
        f"{top}/a/b/",
        f"shoal://{top.upper()}/a/b",
        f"shoal://{top}?peer=127.0.0.1:9/a/b",
        f"shoal://{top},peer=127.0.0.1:9,origin=http%3A%2F%2Fh/a/b",
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
    url = f"shoal://{id_of(folder)},peer=127.0.0.1:{folder.port}/a.txt"
    with pytest.raises(NotFoundError):
        with fsspec.open(url, timeout=0.3, **LOOPBACK) as file:
            file.read()
    with pytest.raises(NotFoundError):
        with fsspec.open(url, timeout=0.3, use_hints="false", **LOOPBACK) as file:
            file.read()
    for yes in (True, "true", "1"):
        with fsspec.open(url, use_hints=yes, **LOOPBACK) as file:
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


def test_options_are_read_from_text(
    folder: shoal.BlockingShare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    conf: dict[str, dict[str, Any]] = {}
    monkeypatch.setattr("fsspec.config.conf", conf)
    (tmp_path / "conf.ini").write_text(
        f"[shoal]\nuse_hints = false\npeers = 127.0.0.1:{folder.port}\n"
        "lan_only = true\nno_lan = 1\ntimeout = 20s\ninterfaces = 127.0.0.1\n"
    )
    set_conf_files(str(tmp_path), conf)
    set_conf_env(conf, {"FSSPEC_SHOAL_PORT": "4555"})
    fs = ShoalFileSystem(hints="peer=127.0.0.1:9")
    settings = fs._loop_thread.settings
    assert (settings.lan_only, settings.no_lan, settings.port) == (True, True, 4555)
    assert (settings.timeout, fs._hints) == (20.0, "")
    options = {**near(folder), "lan_only": "0", "no_lan": "false", "port": "0"}
    text = ShoalFileSystem(**options)._loop_thread.settings
    assert (text.lan_only, text.no_lan, text.port) == (False, False, 0)


def test_options_that_do_not_exist_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'peer'; did you mean peers\?"):
        ShoalFileSystem(peer="127.0.0.1:9")
    with pytest.raises(UsageError, match=r"'use_hint'; did you mean use_hints\?"):
        ShoalFileSystem(use_hint=True)
    with pytest.raises(UsageError, match="'requester_pays'; remove it"):
        ShoalFileSystem(requester_pays=True)
    with pytest.raises(UsageError, match="use_hints: 'maybe' is neither yes nor no"):
        ShoalFileSystem(use_hints="maybe")
    # These mean something to every file system, or to the files that it opens.
    ShoalFileSystem(asynchronous=False, skip_instance_cache=True, block_size=0)


def test_options_of_open_may_be_given_to_the_file_system(
    folder: shoal.BlockingShare,
) -> None:
    url = f"shoal://{id_of(folder)}/deep/er/b.bin"
    with fsspec.open(url, block_size=CHUNK, cache_type="bytes", **near(folder)) as file:
        assert file.read(5) == BIG[:5]
        assert (file.blocksize, file.cache.name) == (CHUNK, "bytes")


WRITES: list[Callable[[ShoalFileSystem, str], object]] = [
    lambda fs, path: fs.mkdir(path),
    lambda fs, path: fs.makedirs(path, exist_ok=True),
    lambda fs, path: fs.rmdir(path),
    lambda fs, path: fs.touch(path),
    lambda fs, path: fs.put(__file__, path),
    lambda fs, path: fs.put_file(__file__, path),
    lambda fs, path: fs.upload(__file__, path),
    lambda fs, path: fs.pipe(path, b"x"),
    lambda fs, path: fs.pipe_file(path, b"x"),
    lambda fs, path: fs.write_text(path, "x"),
    lambda fs, path: fs.rm(path, recursive=True),
    lambda fs, path: fs.rm_file(path),
    lambda fs, path: fs.delete(path),
    lambda fs, path: fs.cp(path, path + "2"),
    lambda fs, path: fs.cp_file(path, path + "2"),
    lambda fs, path: fs.mv(path, path + "2"),
    lambda fs, path: fs.rename(path, path + "2"),
    lambda fs, path: fs.get_mapper(path).__setitem__("x", b"x"),
]


@pytest.mark.parametrize("write", WRITES)
def test_writing_raises(write: Callable[[ShoalFileSystem, str], object]) -> None:
    # No share is needed to say so.
    fs = ShoalFileSystem(**LOOPBACK, timeout=0.2)
    with pytest.raises(OSError, match="Shares are read-only") as caught:
        write(fs, "a" * 56 + "/a.txt")
    assert caught.value.errno == errno.EROFS


def test_opening_for_writing_raises(
    fs: ShoalFileSystem, folder: shoal.BlockingShare
) -> None:
    with fs.open(f"{id_of(folder)}/a.txt") as file:
        with pytest.raises(OSError, match="read-only"):
            file.write(b"x")
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
            assert isinstance(copy, ShoalFile)
            assert copy.read() == BIG[5 * CHUNK :]
    options = {"cache_type": "blockcache", "cache_options": {"maxblocks": 3}}
    with fs.open(f"{id_of(folder)}/deep/er/b.bin", block_size=CHUNK, **options) as file:
        with pickle.loads(pickle.dumps(file)) as copy:
            assert (copy.cache.name, copy.cache.maxblocks) == ("blockcache", 3)
            assert copy.read(5) == BIG[:5]
    opened = fsspec.open(f"shoal://{id_of(folder)}/a.txt", **near(folder))
    with pickle.loads(pickle.dumps(opened)) as file:
        assert file.read() == FILES["a.txt"]


def test_a_file_system_that_is_not_used_any_more_is_freed_at_once(
    folder: shoal.BlockingShare,
) -> None:
    fs = ShoalFileSystem(**near(folder), skip_instance_cache=True)
    fs.ls(id_of(folder))
    gc.collect()
    gc.disable()  # its node ends with it, and must not wait for the collector
    try:
        seen = weakref.ref(fs)
        del fs
        assert seen() is None
    finally:
        gc.enable()


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
