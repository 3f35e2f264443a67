"""Measure the file table of a share with very many files.

Run `python -m benchmarks.many_files [--files N] [--folder PATH]`. It measures in memory
the time to build the pages, their number and bytes, the pages and the time to find one
file, to list one folder and to list the top folder, the time to check all paths, and
the peak of the memory for a tenth of the files. With --folder, a new folder on a file
system in memory such as /dev/shm, it also makes N files of 100 bytes there, and
compares `build_share` with `tar`; each runs in a process of its own.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from typing import TypeVar

from shoal.config.arguments import ShareOptions
from shoal.core.manifest.build import build_files
from shoal.core.manifest.file_pages import FileEntry
from shoal.core.manifest.file_table import FileTable
from shoal.core.manifest.file_tree import folder_range
from shoal.core.manifest.pages import PageKey
from shoal.storage.disk.disk import Disk
from shoal.swarm.build_share import Given, build_share

__all__ = ["main"]

FILES = 2_000_000
IN_FOLDER = 1000  # files
SIZE = 100  # bytes
T = TypeVar("T")


def path_of(number: int) -> str:
    """Return the path of a file."""
    folder = number // IN_FOLDER
    return f"{folder // 100:04}/{folder % 100:02}/file-{number:08}.txt"


def entries(count: int) -> Iterator[FileEntry]:
    """Yield the files of the share."""
    return ((path_of(number), SIZE, False) for number in range(count))


def timed(what: str, work: Callable[[], T]) -> T:
    """Do something and print its time and the peak of the memory so far."""
    begin = time.perf_counter()
    result = work()
    seconds, peak = time.perf_counter() - begin, 0.0
    if tracemalloc.is_tracing():
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        print(f"{what:<40} peak of the memory {peak:8.1f} MiB")
    else:
        print(f"{what:<40} {seconds:8.3f} s")
    return result


def in_memory(count: int) -> None:
    """Measure the table alone."""
    built = timed("build the pages", lambda: build_files(entries(count)))
    total = sum(map(len, built.pages.values()))
    depth = built.top.depth
    print(f"{len(built.pages):,} pages, {total / 2**20:.1f} MiB, depth {depth}")

    def load_by(ask: Callable[[FileTable], Iterator[PageKey]]) -> tuple[FileTable, int]:
        table, loaded = FileTable(built.top, built.size), 0
        while missing := list(ask(table)):
            for key in missing:
                assert table.add_page(key.level, key.number, built.pages[key])
                loaded += 1
        return table, loaded

    def load(first: str = "", end: str | None = None) -> tuple[FileTable, int]:
        return load_by(lambda table: table.missing(first, end))

    def load_top() -> tuple[FileTable, int]:
        return load_by(lambda table: table.missing_children(""))

    path = path_of(count // 3)
    folder = path.rpartition("/")[0]
    table, pages = timed("load the pages for one file", lambda: load(path, path + "\0"))
    assert table.find(path) is not None
    print(f"{pages} pages")
    bounds = folder_range(folder)
    table, pages = timed("load the pages for one folder", lambda: load(*bounds))
    print(f"{pages} pages, {len(table.under(folder))} files")
    table, pages = timed("load the pages for the top folder", load_top)
    print(f"{pages} pages, {len(list(table.children('')))} folders")
    table, _ = timed("load all pages", load)
    files = timed("check all paths", lambda: table.files)
    timed("list all files", lambda: sum(file.size for file in files))


def make_folder(top: Path, count: int) -> None:
    """Make the files, all with the same bytes."""
    data = os.urandom(SIZE)
    for number in range(count):
        path = top / path_of(number)
        if not number % IN_FOLDER:
            path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.write(fd, data)
        os.close(fd)


def share(top: Path) -> None:
    """Scan and hash the folder; print the peak of the memory."""
    built = build_share(
        Given(top),
        ShareOptions(public=True),
        disk=Disk(),
        home=None,
        on_hashed=lambda done, size: None,
        stopped=lambda: False,
        warn=print,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{built.manifest.root.file_count:,} files shared, peak {peak:.0f} MiB")


def beside_tar(top: Path, count: int) -> None:
    """Compare sharing with tar."""
    if top.exists():
        raise SystemExit(f"{top} exists; name a folder that does not.")
    try:
        make_folder(top, count)
        # Not `-f /dev/null`: GNU tar would then not read the files.
        tar = f"tar cf - -C {top.parent} {top.name} | cat >/dev/null"
        timed("tar", lambda: subprocess.run(tar, shell=True, check=True))
        argv = [sys.executable, "-m", "benchmarks.many_files", "--share", str(top)]
        timed("build_share", lambda: subprocess.run(argv, check=True))
    finally:
        rmtree(top)


def main() -> None:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--share", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.share is not None:
        share(options.share)
        return
    in_memory(options.files)
    tracemalloc.start()
    in_memory(options.files // 10)
    tracemalloc.stop()
    if options.folder is not None:
        beside_tar(options.folder, options.files)


if __name__ == "__main__":
    main()
