"""One node shares 10,000 files, and a new process serves them all again."""

from pathlib import Path
from random import Random

import pytest

import shoal
from shoal.core.names.address import Address
from shoal.transport.sealed.listen import MAX_SHARES
from tests.helpers.commands import run
from tests.helpers.fetching import here

SIZE = 20_000  # bytes of each file


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder, rng = tmp_path / "files", Random(1)
    folder.mkdir()
    paths = [folder / str(number) for number in range(MAX_SHARES)]
    for path in paths:
        path.write_bytes(rng.randbytes(SIZE))
    return paths


async def share_all(paths: list[Path]) -> list[shoal.Link]:
    """Share all files in one node; fetch the first and the last one from it."""
    async with shoal.Node(here()) as node:
        shares = [await node.share(path) for path in paths]
        peer = Address("127.0.0.1", shares[-1].port)
        for place in (0, -1):
            await fetch(shares[place].link, paths[place], peer, "shared")
        return [each.link for each in shares]


async def fetch(link: shoal.Link, path: Path, peer: Address, name: str) -> None:
    """Fetch a share from a peer, and compare it with its file."""
    out = path.with_name(f"{path.name}-{name}")
    async with shoal.Node(here([peer])) as node:
        await node.fetch(link, out, timeout=60)
    assert out.read_bytes() == path.read_bytes()  # noqa: ASYNC240


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_ten_thousand_shares_are_served_and_served_again(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = str(tmp_path / "home")
    monkeypatch.setenv("XDG_DATA_HOME", home)
    assert len(files) == 10_000
    links = await share_all(files)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "other"))
    with run("seed", env={"XDG_DATA_HOME": home}) as program:
        line = program.wait_line(r"Sharing 10000 on port (\d+)", 900, stream="err")
        peer = Address("127.0.0.1", int(line[1]))
        for place in (0, -1):
            await fetch(links[place], files[place], peer, "seeded")
