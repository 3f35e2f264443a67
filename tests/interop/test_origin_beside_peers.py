"""Downloads from a slow peer that has everything, and from nginx beside it."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import MakeFile
from tests.helpers.commands import link_of, peer_of
from tests.helpers.netns import Namespace
from tests.helpers.nginx import missing_nginx, nginx
from tests.helpers.programs import shoal
from tests.helpers.requirements import require

pytestmark = pytest.mark.interop

NODES = 2
SIZE = 8 * 1024 * 1024
RATE = "500K"  # bytes per second that the peer sends
PORT = 8080
ENV = {"SHOAL_INTERFACES": "lo", "SHOAL_LAN_ONLY": "1"}


@pytest.mark.program(
    *("origins", "nginx", "nginx -v"),
    "sends one copy to a crowd beside a peer that is slower",
)
def test_nginx_sends_one_copy_to_a_crowd_beside_a_slow_peer(
    namespace: Namespace, make_file: MakeFile, tmp_path: Path
) -> None:
    require(missing_nginx())
    path = make_file(SIZE, 3)
    url = f"http://127.0.0.1:{PORT}/{path.name}"
    with ExitStack() as stack:
        server = stack.enter_context(
            nginx(path.parent, tmp_path / "nginx", PORT, namespace)
        )
        sharing = stack.enter_context(
            shoal("share", path, "--limit-up", RATE, ns=namespace, env=ENV)
        )
        link, peer = link_of(sharing), peer_of(sharing)
        nodes = [
            stack.enter_context(
                shoal(
                    *("get", link, "-o", tmp_path / str(n), "--origin", url),
                    *("--peer", peer),
                    ns=namespace,
                    env=ENV,
                )
            )
            for n in range(NODES)
        ]
        for node in nodes:
            assert node.finish(60).code == 0
        sent = sum(server.sent())
    for n in range(NODES):
        assert (tmp_path / str(n)).read_bytes() == path.read_bytes()
    assert sent > SIZE / 2, "the peer alone was to send nearly everything"
    assert sent <= 1.05 * SIZE
