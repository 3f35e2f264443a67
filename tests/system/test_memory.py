"""Little memory is enough, and where there is none it is said. threats.md F16."""

import os
import shutil
import sys
from pathlib import Path

from tests.conftest import MakeFile
from tests.helpers.commands import LOOPBACK, peer_of
from tests.helpers.process import Program
from tests.helpers.requirements import require

LIMIT = 256 << 20  # bytes of addresses, as `ulimit -v` has it
SIZE = 300 << 20

# Something that the event loop calls finds no memory, while a command waits.
_NO_MEMORY = """
import asyncio
from shoal.cli.runner import run_command

def fail():
    raise MemoryError

async def wait():
    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(60)

try:
    run_command(wait())
except MemoryError:
    print("it was told")
"""


def limited(*args: object) -> Program:
    """Start a command that may have few addresses."""
    require(None if shutil.which("prlimit") else "prlimit is not installed")
    words = [sys.executable, "-m", "shoal", *map(str, args)]
    env = {**os.environ, **LOOPBACK}
    return Program(["prlimit", f"--as={LIMIT}", *words], env=env)


def test_a_file_larger_than_all_memory_is_shared_and_fetched(
    make_file: MakeFile, tmp_path: Path
) -> None:
    part, source, out = make_file(1 << 20, 1), tmp_path / "large", tmp_path / "out"
    with source.open("wb") as file:
        for number in range(SIZE >> 20):
            file.write(number.to_bytes(8, "big") + part.read_bytes()[8:])
    with limited("share", source) as sharing:
        link = sharing.wait_line("^shoal:", stream="out").string
        with limited("get", link, "-o", out, "--peer", peer_of(sharing)) as getting:
            assert getting.finish(60).code == 0
    with source.open("rb") as one, out.open("rb") as other:
        while data := one.read(1 << 20):
            assert other.read(1 << 20) == data
    source.unlink()
    out.unlink()


def test_a_lack_of_memory_ends_a_command_instead_of_being_waited_out() -> None:
    with Program([sys.executable, "-c", _NO_MEMORY]) as program:
        assert program.finish().stdout == b"it was told\n"
