"""Who goes on sharing what it fetched gives nothing that is not what was fetched.

The target is the user's own from the moment it has its name: he may edit, shorten,
replace or delete it.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from shoal.core.names.address import Address
from shoal.core.names.link import Link
from shoal.core.report.events import DownloadEvent, PeerLeft
from shoal.errors import NotFoundError, UnfinishedError
from shoal.node.node import Node
from shoal.storage.disk.disk import Disk
from shoal.storage.download.staging import Staging
from tests.helpers.fetching import fetch_sealed, here, sharing
from tests.helpers.folders import list_folder
from tests.helpers.holder import Holder, make_holding

CHUNK = 16_384
COUNT = 20
HOLDING = make_holding(COUNT * CHUNK)
DATA = b"".join(HOLDING.chunk(index) for index in range(COUNT))


def nothing(path: Path) -> None:
    """Leave it as it is."""


def edit(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(5 * CHUNK + 9)
        file.write(b"edited")


def edit_unnoticed(path: Path) -> None:
    """Edit, and set the times back."""
    before = path.stat()
    edit(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def truncate(path: Path) -> None:
    os.truncate(path, 5 * CHUNK + 9)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(bytes(len(DATA)))
    other.replace(path)


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (nothing, 0),
        (edit, 1),
        (edit_unnoticed, 1),
        (truncate, COUNT - 5),
        (replace, COUNT),
        (Path.unlink, COUNT),
    ],
)
async def test_a_target_that_changed_is_given_as_far_as_it_is_what_it_was(
    change: Callable[[Path], None], lost: int, tmp_path: Path
) -> None:
    target, out = tmp_path / "target", tmp_path / "out"
    said: list[str] = []
    async with Node(
        here(), rng=Random(2), on_notice=lambda notice: said.append(notice.text)
    ) as node:
        async with Holder(HOLDING) as holder:
            link = Link(HOLDING.link.id, (holder.address,))
            fetched = await node.fetch(link, target, seed=True, timeout=10)
        share = fetched.share
        assert share is not None
        change(target)
        there = names_in(tmp_path)
        peer = Address("127.0.0.1", share.port)
        # A file that is still open may be served though it has lost its name.
        events = await fetch_from(peer, out, may_fail=bool(lost))
        assert not [e for e in events if isinstance(e, PeerLeft) and e.is_banned]
        if out.exists():
            assert out.read_bytes() == DATA
            there.append(out.name)
        else:
            assert lost
            assert [text for text in said if "not sent" in text], said
        assert names_in(tmp_path) == sorted(there), "it put something there"


async def test_what_a_run_left_that_was_killed_after_naming_its_target_is_removed(
    tmp_path: Path,
) -> None:
    target = tmp_path / "target"
    target.write_bytes(DATA)
    left = Staging(target, HOLDING.link.identity, Disk())
    left.lock()
    left.release()
    assert left.directory.exists()
    async with Holder(HOLDING) as holder, Node(here(), rng=Random(2)) as node:
        link = Link(HOLDING.link.id, (holder.address,))
        await node.fetch(link, target, seed=True, timeout=10)
    assert os.listdir(tmp_path) == [target.name]


def names_in(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


async def fetch_from(
    peer: Address, out: Path, *, may_fail: bool
) -> list[DownloadEvent]:
    """Fetch from one peer; return what was reported."""
    events: list[DownloadEvent] = []
    async with Node(here([peer]), rng=Random(1)) as node:
        fetching = node.fetch(
            HOLDING.link,
            out,
            timeout=2 if may_fail else 10,
            on_progress=events.append,
        )
        try:
            await fetching
        except (NotFoundError, UnfinishedError):
            assert may_fail
    return events


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder whose files share chunks."""
    rng = Random(4)
    for number in range(12):
        path = tmp_path / "source" / f"{number % 3}" / f"{number:02}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randrange(30_000)))
    return tmp_path / "source"


def empty(folder: Path) -> None:
    for path in folder.rglob("??"):
        path.unlink()


async def test_a_folder_of_which_a_file_was_deleted_stays_so(
    folder: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    async with Node(here(), rng=Random(2)) as node:
        async with sharing(folder) as (shared, address):
            link = Link(shared.link.id, (address,))
            fetched = await node.fetch(link, target, seed=True, timeout=10)
        share = fetched.share
        assert share is not None
        peer = Address("127.0.0.1", share.port)
        await fetch_sealed(shared.link, tmp_path / "out", [peer])
        assert list_folder(tmp_path / "out") == list_folder(folder)
        empty(target)
        # Those that it still has open may be given, and none comes back.
        with suppress(UnfinishedError, NotFoundError):
            await fetch_sealed(shared.link, tmp_path / "again", [peer], timeout=2)
        assert list_folder(target) == []


async def test_of_what_was_chosen_all_is_given_and_the_rest_refused(
    folder: Path, tmp_path: Path
) -> None:
    target, out = tmp_path / "target", tmp_path / "out"
    said: list[str] = []
    async with Node(
        here(), rng=Random(2), on_notice=lambda notice: said.append(notice.text)
    ) as node:
        async with sharing(folder) as (shared, address):
            link = Link(shared.link.id, (address,))
            fetched = await node.fetch(link, target, include="1", seed=True, timeout=10)
        share = fetched.share
        assert share is not None
        peer = Address("127.0.0.1", share.port)
        async with Node(here([peer]), rng=Random(1)) as other:
            with pytest.raises(UnfinishedError):
                # Chunks that reach beyond it were thrown away with the rest.
                await other.fetch(shared.link, out, include="1", timeout=2)
    assert names_in(target) == ["1"]
    assert said == []


async def test_what_is_seeded_can_be_executed(folder: Path, tmp_path: Path) -> None:
    """Nobody has it open to write, which would make the system refuse."""
    target = tmp_path / "target"
    program = folder / "run"
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    async with Node(here(), rng=Random(2)) as node:
        async with sharing(folder) as (shared, address):
            link = Link(shared.link.id, (address,))
            await node.fetch(link, target, keep_exec=True, seed=True, timeout=10)
        process = await asyncio.create_subprocess_exec(target / "run")
        assert await process.wait() == 7
