"""The gateway serves the shares it was given and uses only allowed peers."""

from pathlib import Path

import pytest

import shoal
from shoal.core.names.link import Link
from shoal.errors import ManifestError
from shoal.gateway import server
from shoal.gateway.server import Gateway
from tests.adversary.paths import hostile_manifests
from tests.adversary.test_hostile_links import holding_of
from tests.helpers.fetching import here
from tests.helpers.gateway import curl, get, serving
from tests.helpers.holder import Holder, make_holding

HOLDING = make_holding(50_000)
FILE = "files/0/data"


async def test_two_links_to_one_share_are_served_once() -> None:
    async with Holder(HOLDING) as holder:
        async with shoal.Node(here([holder.address])) as node:
            hinted = Link(HOLDING.link.id, (holder.address,))
            async with Gateway(node, [HOLDING.link, hinted]) as gateway:
                assert [share.number for share in gateway.shares] == [0]


async def test_hints_in_a_link_are_used_only_with_use_hints() -> None:
    async with Holder(HOLDING) as holder:
        link = Link(HOLDING.link.id, (holder.address,))
        async with shoal.Node(here()) as node:
            async with Gateway(node, [link], timeout=0.3) as gateway:
                assert (await get(gateway, FILE)).status == 504
        assert holder.talks == []
        async with shoal.Node(here()) as node:
            async with Gateway(node, [link], use_hints=True) as gateway:
                assert (await get(gateway, FILE)).status == 200


async def test_a_single_invalid_share_ends_run_and_the_page_shows_why() -> None:
    hostile = holding_of(next(iter(hostile_manifests())))
    problems: list[str] = []
    async with Holder(hostile) as holder:
        async with shoal.Node(here([holder.address])) as node:
            links = [hostile.link]
            on_problem = problems.append
            async with Gateway(node, links, on_problem=on_problem) as gateway:
                with pytest.raises(ManifestError):
                    await gateway.run()
                assert (await get(gateway, FILE)).status == 502
                assert problems[0].encode()[:30] in (await curl(gateway.url)).body


async def test_an_invalid_share_does_not_stop_the_other_shares() -> None:
    hostile = holding_of(next(iter(hostile_manifests())))
    async with Holder(hostile) as bad, Holder(HOLDING) as good:
        async with serving(bad, good) as gateway:
            await gateway.run()
            assert (await get(gateway, "files/0/x")).status == 502
            assert (await get(gateway, "files/1/data")).status == 200


async def test_shares_are_added_to_a_page_that_is_open(tmp_path: Path) -> None:
    """As `shoal seed --http` does: the page loads itself again."""
    (tmp_path / "one").write_bytes(b"1" * 100)
    async with shoal.Node(here()) as node, Gateway(node, ()) as gateway:
        empty = await get(gateway, "")
        assert b"Nothing is shared or downloaded yet" in empty.body
        assert b'http-equiv="refresh"' in empty.body, "without its script"
        share = await node.share(tmp_path / "one")
        gateway.add(share.link)
        gateway.add(share.link)
        assert len(gateway.shares) == 1
        page = await get(gateway, "")
        assert b"1 of 1 chunk verified" in page.body
        assert (await get(gateway, "files/0/one")).body == b"1" * 100
        assert not node.status(share.link).peers, "it did not join a second time"


async def test_the_page_says_how_many_shares_it_does_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_ADDED", 1)
    async with shoal.Node(here()) as node, Gateway(node, ()) as gateway:
        for number in (1, 2, 3):
            (tmp_path / str(number)).write_bytes(bytes(number))
            share = await node.share(tmp_path / str(number))
            gateway.add(share.link)
            gateway.add(share.link)
        page = await get(gateway, "")
        assert b"This page shows the first 1 of 3 shares; shoal list names" in page.body
        assert b"<title>3 shares" in page.body
