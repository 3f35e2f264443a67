"""The URLs and options of the file system, and what it refuses to do."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.config import set_conf_env, set_conf_files

import shoal
from shoal.errors import NotFoundError, UsageError
from shoal.integrations.fsspec import ShoalFileSystem
from tests.helpers.sharing import LOOPBACK, near
from tests.integrations.conftest import BIG, CHUNK, FILES, id_of


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
