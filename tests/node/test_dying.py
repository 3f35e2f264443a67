"""An error in a background task of a node reaches the caller at once."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import shoal
from tests.helpers.broken_discovery import break_discovery
from tests.helpers.fetching import here
from tests.helpers.holder import make_holding

LINK = make_holding(100).link


async def stat(node: shoal.Node, path: Path) -> Any:
    return await node.stat(LINK, timeout=60)


async def fetch(node: shoal.Node, path: Path) -> Any:
    return await node.fetch(LINK, path / "out", timeout=60)


async def open_file(node: shoal.Node, path: Path) -> Any:
    return await node.open(LINK, timeout=60)


async def fetch_chunk(node: shoal.Node, path: Path) -> Any:
    return await node.fetch_chunk(LINK, 0, timeout=60)


async def shared(node: shoal.Node, path: Path) -> Any:
    (path / "file").write_bytes(b"data")
    share = await node.share(path / "file")
    await share.shared()


@pytest.mark.parametrize("call", [stat, fetch, open_file, fetch_chunk, shared])
async def test_an_error_of_discovery_ends_a_call_at_once(
    call: Callable[[shoal.Node, Path], Awaitable[Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    break_discovery(monkeypatch)
    async with shoal.Node(here()) as node, asyncio.timeout(20):
        with pytest.raises(UnicodeError, match="label empty"):
            await call(node, tmp_path)
