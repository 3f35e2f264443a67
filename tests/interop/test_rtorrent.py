"""shoal in a DHT of two rtorrent, which give ports low byte first."""

import hashlib
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.helpers.netns import Namespace
from tests.helpers.process import Program
from tests.helpers.requirements import require

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parent.parent.parent
TOPIC = hashlib.sha1(b"a topic that rtorrent stores").hexdigest()
PORT = 4020
PORTS = (6881, 6882)  # of two nodes: one that knows no other answers nothing
NODE = ("rtorrent", "-n", "-b", "127.0.0.1", "-o")
SETTINGS = """
system.daemon.set = true
session.path.set = {folder}
dht.mode.set = on
dht.port.set = {port}
network.port_range.set = 1{port}-1{port}
schedule2 = others, 1, 1, "dht.add_node=127.0.0.1:{other}"
"""


def missing_rtorrent() -> str | None:
    """Return why there is no rtorrent here; None if there is one."""
    return None if shutil.which("rtorrent") else "rtorrent is not installed"


@pytest.mark.program(
    *("dht", "rtorrent", "rtorrent -h"),
    "leads to what shoal announces, though it gives ports low byte first",
)
def test_rtorrent_leads_to_what_shoal_announces(
    namespace: Namespace, tmp_path: Path
) -> None:
    require(missing_rtorrent())
    tool = [sys.executable, "-m", "tests.interop.dht_tool", TOPIC]
    with ExitStack() as stack:

        def start(*argv: str, cwd: Path = ROOT) -> Program:
            return stack.enter_context(Program(argv, namespace=namespace, cwd=cwd))

        for port, other in (PORTS, PORTS[::-1]):
            folder = tmp_path / str(port)
            folder.mkdir()
            settings = folder / "settings"
            settings.write_text(SETTINGS.format(folder=folder, port=port, other=other))
            start(*NODE, f"import={settings}", cwd=folder)
        bootstrap = [f"127.0.0.1:{port}" for port in PORTS]
        start(*tool, str(PORT), *bootstrap)
        start(*tool, "-", *bootstrap).wait_line(rf"^peer 127\.0\.0\.1:{PORT}$")
