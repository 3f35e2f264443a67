"""What a command serves is reported to programs when it has changed."""

import asyncio
import json
from pathlib import Path

import pytest

import shoal
from shoal.cli.output import Output
from shoal.cli.serving import _Report
from tests.helpers.fetching import here

WAIT = 30.0  # seconds
SIZES = (1000, 2000)  # bytes of the shared files


async def test_a_peer_of_two_shares_is_reported_once_for_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output(is_quiet=False, is_verbose=False, as_json=True, shows_progress=True)
    async with shoal.Node(here()) as node, asyncio.timeout(WAIT):
        shares = []
        for size in SIZES:
            path = tmp_path / str(size)
            path.write_bytes(bytes(size))
            shares.append(await node.share(path))
        address = shoal.Address("127.0.0.1", shares[0].port)
        async with shoal.Node(here([address])) as other:
            for share, size in zip(shares, SIZES, strict=True):
                await other.fetch(share.link, tmp_path / f"copy-{size}", seed=True)
                await share.shared()
            report = _Report(node, output, shares, "", lambda share: str(share.link))
            report._report_uploads()
            lines = map(json.loads, capsys.readouterr().out.splitlines())
            peers = [line for line in lines if line["event"] == "peer"]
            assert [(line["has"], line["uploaded"]) for line in peers] == [
                (size, size) for size in SIZES
            ]
            links = [str(share.link) for share in shares]
            assert [line["link"] for line in peers] == links
            assert len({line["address"] for line in peers}) == 1
            report._report_uploads()
            assert capsys.readouterr().out == ""
