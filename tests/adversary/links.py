"""Attacks of the maker of a link on the commands of its receivers.

They may use up neither the memory nor the processor of this machine.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.helpers.commands import link_of, peak_rss, peer_of, run, share

__all__ = ["LINKS"]

DEEP = 14  # folders, one in the other, of the longest names
FILES = 12_000  # with paths of 3,900 bytes: a table of 45 MiB
MOST_PEAK = 256 << 10  # KiB of memory that a command may use at any time
PATIENCE = 60.0  # seconds


def archives_of_long_names(folder: Path) -> None:
    """Have a user save a folder of many long names from the page, three times."""
    _make_long_names(folder / "long")
    with (
        share(folder / "long") as sharer,
        run("serve", link_of(sharer), "--peer", peer_of(sharer)) as serving,
    ):
        url = serving.wait_line("^http", stream="out").string
        with ThreadPoolExecutor(3) as pool:
            saved = [pool.submit(_status_of, f"{url}zip/0/") for _ in range(3)]
        assert {each.result() for each in saved} <= {200, 403, 503}
        peak = peak_rss(serving)
    assert peak <= MOST_PEAK, f"{peak >> 10} MiB of memory were in use at a time"


def _status_of(url: str) -> int:
    """Read a response to its end; return its status."""
    try:
        with urlopen(url, timeout=PATIENCE) as answer:
            while answer.read(1 << 20):
                pass
            return int(answer.status)
    except HTTPError as error:
        return error.code


def _make_long_names(top: Path) -> None:
    """Make many empty files with long names, deep below a folder."""
    top.mkdir()
    at = os.open(top, os.O_RDONLY)
    try:
        for _ in range(DEEP):
            os.mkdir("d" * 250, dir_fd=at)
            below = os.open("d" * 250, os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
        for number in range(FILES):
            os.close(os.open(f"{number:0250}", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    finally:
        os.close(at)


LINKS: dict[str, Callable[[Path], None]] = {
    case.__name__: case for case in (archives_of_long_names,)
}
"""All cases by name; each is given an empty folder."""
