"""Two machines behind NATs or firewalls connect: both dial, and their dials meet."""

import random
from pathlib import Path

import pytest

from tests.helpers.commands import link_of
from tests.helpers.nats import Home, Internet, Nat, missing_nats
from tests.helpers.programs import shoal
from tests.helpers.requirements import require

SIZE = 1 << 20  # bytes
SHARER, GETTER = 4001, 4002  # ports
PEERS_ONLY = {"SHOAL_LAN_ONLY": "1", "SHOAL_NO_LAN": "1"}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    require(missing_nats())
    path = tmp_path / "source"
    path.write_bytes(random.Random(5).randbytes(SIZE))
    return path


def transfer(source: Path, sharer: Home, getter: Home, *, names: bool) -> bool:
    """Return True if the getter gets the file; the sharer may name its address."""
    out = source.with_name("out")
    named = ("--peer", f"{getter.address}:{GETTER}") if names else ()
    share = ("share", source, "--port", SHARER, *named)
    get = ("get", "-o", out, "--port", GETTER, "--timeout", "20" if names else "2")
    with shoal(*share, ns=sharer.namespace, env=PEERS_ONLY) as sharing:
        peer = f"{sharer.address}:{SHARER}"
        words = (*get, link_of(sharing), "--peer", peer)
        with shoal(*words, ns=getter.namespace, env=PEERS_ONLY) as getting:
            code = getting.finish(40).code
    return code == 0 and out.read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Nat.PRESERVING, Nat.PRESERVING),
        (Nat.NESTED, Nat.FIREWALL),
    ],
    ids=lambda nat: nat.name.lower(),
)
def test_two_that_dial_each_other_meet(one: Nat, other: Nat, source: Path) -> None:
    with Internet() as net:
        sharer, getter = net.add_home(one), net.add_home(other)
        assert transfer(source, sharer, getter, names=True)


def test_one_that_dials_alone_does_not_get_through(source: Path) -> None:
    """The NATs of these tests do keep strangers out."""
    with Internet() as net:
        sharer, getter = net.add_home(Nat.PRESERVING), net.add_home(Nat.PRESERVING)
        assert not transfer(source, sharer, getter, names=False)
