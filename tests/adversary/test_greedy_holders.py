"""A sharer that greedy holders attack serves honest peers with little memory.

The sharer is the real command, whose resources can be measured. The attacks are those
of `tests.adversary.greedy`.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.core.names.address import parse_address
from shoal.core.names.link import parse_link
from tests.adversary.adv import attack
from tests.adversary.floods import FLOODS
from tests.adversary.greedy import GREEDY
from tests.conftest import MakeFile
from tests.helpers.commands import link_of, peer_of, rss, share
from tests.helpers.fetching import fetch_sealed
from tests.helpers.process import Program

CHUNK = 16_384
SIZE = 200 * CHUNK + 11
SOON = 20.0  # seconds for a download on a busy machine; the longest seen took 8
GENEROUS = 48 * 1024  # KiB by which the sharer may grow


class Sharer:
    """A share of the real command."""

    def __init__(self, program: Program, source: Path) -> None:
        self.program = program
        self.source = source
        self.address = parse_address(peer_of(program))
        self.link = parse_link(link_of(program))

    @property
    def files(self) -> int:
        """Return the number of its open file descriptors."""
        return len(os.listdir(f"/proc/{self.program.pid}/fd"))

    def has_all(self, out: Path) -> bool:
        """Return True if `out` equals the shared file; remove `out`."""
        is_same = out.read_bytes() == self.source.read_bytes()
        out.unlink()
        return is_same


@pytest.fixture
def sharer(make_file: MakeFile) -> Iterator[Sharer]:
    source = make_file(SIZE, 3)
    with share(source, "--chunk-size", CHUNK) as program:
        yield Sharer(program, source)


@pytest.mark.parametrize("case", [*GREEDY, *FLOODS])
async def test_a_sharer_withstands_a_greedy_holder(
    case: str, sharer: Sharer, tmp_path: Path
) -> None:
    memory, files = rss(sharer.program), sharer.files
    attacking = asyncio.create_task(attack(case, sharer.link, sharer.address))
    is_over = False
    number = 0
    # Honest downloads repeat during the attack, and one follows it.
    while not is_over:
        is_over = attacking.done()
        await fetches(sharer, tmp_path / f"out-{number}")
        number += 1
    await attacking
    assert rss(sharer.program) - memory < GENEROUS
    # The sharer may have opened the source since.
    assert sharer.files <= files + 4
    assert sharer.program.running


async def fetches(sharer: Sharer, out: Path) -> None:
    """Fetch the whole file from the attacked sharer."""
    async with asyncio.timeout(SOON):
        await fetch_sealed(sharer.link, out, [sharer.address])
    assert sharer.has_all(out)
