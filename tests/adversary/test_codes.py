"""Nodes that know where a code meets, or record its exchange, get no link.

The sharer and the receivers are the real command.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.core.names.address import parse_address
from shoal.core.names.code import parse_code
from tests.adversary.codes import CODES
from tests.conftest import MakeFile
from tests.helpers.codes import (
    Meet,
    answer_without_proof,
    refuse,
    say_nothing,
    squatting,
)
from tests.helpers.commands import code_of, link_of, peer_of, run, share
from tests.helpers.process import Program
from tests.helpers.relay import PlainRelay
from tests.helpers.sealed import answer_to


class Sharer:
    def __init__(self, program: Program, source: Path) -> None:
        self.program = program
        self.source = source
        self.address = parse_address(peer_of(program))
        self.link = link_of(program)
        self.code = parse_code(code_of(program))


@pytest.fixture
def sharer(make_file: MakeFile) -> Iterator[Sharer]:
    source = make_file(100_000, 3)
    with share(source, "--code") as program:
        yield Sharer(program, source)


async def get(
    sharer: Sharer, out: Path, *peers: object, timeout: int = 15
) -> tuple[int, str]:
    """Fetch by code with the real command; return its exit code and messages."""
    words = [word for peer in peers for word in ("--peer", peer)]
    with run("get", sharer.code, "-o", out, "--timeout", timeout, *words) as program:
        ended = await asyncio.to_thread(program.finish, 40)
    return ended.code, ended.stderr


@pytest.mark.parametrize("meet", [answer_without_proof, refuse, say_nothing])
async def test_the_receiver_passes_a_squatter_by(
    meet: Meet, sharer: Sharer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    async with squatting(meet, sharer.code) as squatter:
        code, said = await get(sharer, out, squatter.address, sharer.address)
    assert code == 0, said
    assert out.read_bytes() == sharer.source.read_bytes()
    sharer.program.wait_line("The code was used", stream="err")
    assert "wrong code" not in sharer.program.stderr


async def test_a_squatter_alone_gets_one_proof_and_no_link(
    sharer: Sharer, tmp_path: Path
) -> None:
    async with squatting(answer_without_proof, sharer.code) as squatter:
        out = tmp_path / "out"
        code, said = await get(sharer, out, squatter.address, timeout=3)
        assert (code, "No node that offers this code" in said) == (3, True)
        assert len(squatter.proofs) == 1
    assert (await get(sharer, tmp_path / "out", sharer.address))[0] == 0


async def test_a_recording_has_neither_the_link_nor_anything_to_replay(
    sharer: Sharer, tmp_path: Path
) -> None:
    async with PlainRelay(sharer.address) as relay:
        code, said = await get(sharer, tmp_path / "out", relay.address)
        assert code == 0, said
        recorded = bytes(relay.to_server + relay.to_client)
        replayed = bytes(relay.to_server)
    for secret in (sharer.link, str(sharer.code), *sharer.code.words[1:]):
        assert secret.encode() not in recorded
    assert sharer.code.password not in recorded
    assert await answer_to(sharer.address, replayed) == b""


@pytest.mark.parametrize("case", CODES)
async def test_the_sharer_withstands_an_attack_on_its_code(
    case: str, sharer: Sharer, tmp_path: Path
) -> None:
    await CODES[case](sharer.code, sharer.address)
    assert sharer.program.running
    has_ended = case == "code_guesses"
    timeout = 3 if has_ended else 15
    out = tmp_path / "by code"
    code, said = await get(sharer, out, sharer.address, timeout=timeout)
    if has_ended:
        assert code == 3
        sharer.program.wait_line("The code has ended: it was entered", stream="err")
    else:
        assert code == 0, said
    with run(
        *("get", sharer.link, "-o", tmp_path / "by link", "--peer", sharer.address)
    ) as program:
        assert (await asyncio.to_thread(program.finish)).code == 0
