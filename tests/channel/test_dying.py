"""An error in a background task of an open channel reaches the caller."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import shoal
from shoal.channel.operations import ChannelTarget
from shoal.core.report.events import Notice
from tests.helpers.broken_discovery import break_discovery
from tests.helpers.fakeserver import FakeServer
from tests.helpers.fetching import fetch, fetch_chunk, here
from tests.helpers.wire import Content

CONTENT = Content.make(5000)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    break_discovery(monkeypatch)


@pytest.mark.usefixtures("broken")
async def test_an_error_of_discovery_ends_a_download_at_once(tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(UnicodeError, match="label empty"):
            await fetch(CONTENT.id, tmp_path / "out", [], timeout=None)


@pytest.mark.usefixtures("broken")
async def test_an_error_of_discovery_ends_the_fetch_of_a_chunk_at_once() -> None:
    async with asyncio.timeout(20):
        with pytest.raises(UnicodeError, match="label empty"):
            await fetch_chunk(CONTENT.id, 0, [], timeout=60)


async def test_an_error_of_opening_the_store_ends_a_download_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("cannot open")

    monkeypatch.setattr(ChannelTarget, "open_store", fail)
    async with FakeServer(CONTENT) as server, asyncio.timeout(20):
        with pytest.raises(RuntimeError, match="cannot open"):
            await fetch(CONTENT.id, tmp_path / "out", [server.address], timeout=None)


@pytest.mark.usefixtures("broken")
async def test_an_error_of_announcing_is_reported_and_raised_on_closing(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(CONTENT.data)
    notices: asyncio.Queue[Notice] = asyncio.Queue()
    node = shoal.Node(here(), on_notice=notices.put_nowait)
    await node.share_open(tmp_path / "file", "a name")
    async with asyncio.timeout(20):
        assert "UnicodeError: label empty" in (await notices.get()).text
    with pytest.raises(UnicodeError, match="label empty"):
        await node.aclose()
