"""Commands and programs work on uvloop, which commands use if it is installed."""

import asyncio
import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import shoal
from tests.helpers.process import Program, capture
from tests.helpers.requirements import require
from tests.helpers.sharing import LOOPBACK

ALONE = {
    "SHOAL_LAN_ONLY": "1",
    "SHOAL_NO_LAN": "1",
    "SHOAL_INTERFACES": "127.0.0.1",
}
SIZE = 3_000_000
WHICH = """
import asyncio
from shoal.cli.runner import run_command
async def say():
    print(type(asyncio.get_running_loop()).__module__)
run_command(say())
"""


@pytest.fixture(autouse=True)
def _uvloop() -> None:
    require(None if find_spec("uvloop") else "uvloop is not installed")


@pytest.mark.parametrize(
    ("choice", "module"), [("", "uvloop"), ("0", "asyncio.unix_events")]
)
def test_commands_run_on_uvloop_unless_it_is_disabled(choice: str, module: str) -> None:
    done = capture(
        [sys.executable, "-c", WHICH],
        env={**os.environ, "SHOAL_UVLOOP": choice},
        check=True,
    )
    assert done.stdout.strip() == module


@pytest.mark.program("system", "uvloop", "pip:uvloop", "share and get run on it")
def test_commands_share_and_fetch_and_end_on_uvloop(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(SIZE))
    env = {**os.environ, **ALONE, "SHOAL_UVLOOP": ""}
    command = [sys.executable, "-m", "shoal"]
    with Program([*command, "share", str(source)], env=env) as sharer:
        link = sharer.wait_line(r"^shoal:\S+$", stream="out")[0]
        port = sharer.wait_line(r"on port (\d+)")[1]
        words = [*command, "get", link, "-o", "copy", "--peer", f"127.0.0.1:{port}"]
        assert Program(words, env=env, cwd=tmp_path).finish().code == 0
        sharer.send(signal.SIGINT)
        assert sharer.finish().code == 130
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_a_node_works_in_a_program_with_uvloop(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(SIZE))

    async def main() -> None:
        async with shoal.Node(**LOOPBACK) as node:
            link = (share := await node.share(source)).link
            near = f"127.0.0.1:{share.port}"
            async with shoal.Node(**LOOPBACK, peers=near) as other:
                async with other.open(link) as file:
                    file.seek(SIZE - 8)
                    assert await file.read() == source.read_bytes()[-8:]
                await other.fetch(link, tmp_path / "copy")

    factory = import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
