"""Any number of downloaders behind one public address are served.

The sharer, a router with an nftables NAT, and the downloaders behind it are network
namespaces: the sharer sees every downloader at the router's one public address.
"""

import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.helpers.commands import link_of
from tests.helpers.netns import Namespace, join_by_veth, join_home
from tests.helpers.programs import shoal
from tests.helpers.requirements import require

PORT = 4001
SIZE = 3 << 20  # bytes
PEERS_ONLY = {"SHOAL_LAN_ONLY": "1", "SHOAL_NO_LAN": "1"}
pytestmark = pytest.mark.usefixtures("namespace")  # skips the tests without namespaces

_NAT = """
table ip nat {
  chain out { type nat hook postrouting priority 100; oifname "v1" masquerade; }
}
"""


@contextmanager
def behind_a_nat() -> Iterator[tuple[Namespace, Namespace, str]]:
    """Yield the sharer, the machine behind the NAT, and the sharer's address."""
    with Namespace() as sharer, Namespace() as router, Namespace() as home:
        # Addresses of the internet, as far as these namespaces know.
        public, _ = join_by_veth(sharer, router, subnet="11.0.0")
        join_home(router, home)
        router.run("sh", "-c", f"echo '{_NAT}' | nft -f -")
        yield sharer, home, public


@pytest.mark.parametrize(
    "downloaders",
    [12, pytest.param(64, marks=[pytest.mark.long, pytest.mark.timeout(400)])],
)
def test_all_downloaders_behind_one_address_complete(
    downloaders: int, tmp_path: Path
) -> None:
    require(None if shutil.which("nft") else "nft is not installed")
    source = tmp_path / "source"
    source.write_bytes(random.Random(4).randbytes(SIZE))
    with behind_a_nat() as (sharer, home, public), ExitStack() as stack:
        words = ("share", source, "--port", PORT, "--chunk-size", "64K")
        sharing = stack.enter_context(shoal(*words, ns=sharer, env=PEERS_ONLY))
        link, peer = link_of(sharing), f"{public}:{PORT}"
        outs = [tmp_path / str(number) for number in range(downloaders)]
        getting = [
            stack.enter_context(
                shoal(
                    *("get", link, "-o", out, "--peer", peer, "--timeout", 120),
                    ns=home,
                    env=PEERS_ONLY,
                )
            )
            for out in outs
        ]
        for program in getting:
            assert program.finish(300).code == 0
        assert all(out.read_bytes() == source.read_bytes() for out in outs)
