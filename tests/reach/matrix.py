"""Measure who can fetch from whom, for every two kinds of NAT.

A sharer has a folder of two files, of one chunk each. The getter fetches one of them.
In the second half of the measurement there is no DHT, but a public peer that both know,
which has the other file only: it can introduce the two, and serve neither.
"""

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tests.helpers.commands import link_of
from tests.helpers.events import lines_of
from tests.helpers.nats import Home, Internet, Nat
from tests.helpers.programs import Program, shoal
from tests.helpers.transit_relay import transit_relay

__all__ = [
    "NO_DISCOVERY",
    "PORT",
    "Pair",
    "Reached",
    "by_common_peer",
    "by_dht",
    "by_relay",
]

CHUNK = 64 << 10  # bytes
IDLE = 40.0  # seconds for which a sharer is left alone: its first lookups are over
DHT_PATIENCE = 60  # seconds that a getter waits for its chunk
COMMON_PATIENCE = 20  # seconds
AT_ONCE = 4  # getters; more would measure the processor
PORT = 4001  # of the common peer or the relay
NO_DISCOVERY = {"SHOAL_LAN_ONLY": "1", "SHOAL_NO_LAN": "1"}
# The same, but routers are asked to map ports.
_NO_DHT = {"SHOAL_DHT_BOOTSTRAP": "192.0.2.1:6881", "SHOAL_NO_LAN": "1"}


class Pair(NamedTuple):
    """Name a sharer and a getter by what is between them and the internet."""

    sharer: Nat
    getter: Nat


class Reached(NamedTuple):
    """Describe how a getter got its chunk."""

    seconds: float
    """From its start to its end."""
    path: str
    """How it says that it reached the peer that sent the chunk (docs/json.md)."""


class _Share(NamedTuple):
    pair: Pair
    home: Home
    getter: Home
    program: Program
    folder: Path


def by_dht(
    pairs: list[Pair], folder: Path, *, is_ipv6: bool = False
) -> Iterator[tuple[Pair, Reached | None]]:
    """Yield how each getter got its chunk, None if it got none.

    The DHT is the only third party; if `is_ipv6`, there is one of IPv6 as well.
    """
    with Internet() as net:
        options = ["--no-lan", "--dht-bootstrap", net.start_dht()]
        if is_ipv6:
            options += ["--dht-bootstrap", net.start_dht(is_ipv6=True)]
        shares = [_share(net, pair, folder, *options) for pair in pairs]
        links = [link_of(share.program) for share in shares]
        time.sleep(IDLE)
        yield from _fetch_all(shares, links, DHT_PATIENCE, *options)


def by_relay(pairs: list[Pair], folder: Path) -> Iterator[tuple[Pair, Reached | None]]:
    """Yield as `by_dht` does; the link names a relay."""
    with Internet() as net:
        public = net.add_home(Nat.PUBLIC)
        net.enter_context(transit_relay(public.address, PORT, public.namespace))
        options = ("--no-lan", "--dht-bootstrap", net.start_dht())
        relay = ("--relay", f"{public.address}:{PORT}")
        shares = [_share(net, pair, folder, *options, *relay) for pair in pairs]
        links = [link_of(share.program) for share in shares]
        time.sleep(IDLE)
        yield from _fetch_all(shares, links, DHT_PATIENCE, *options)


def by_common_peer(
    pairs: list[Pair], folder: Path
) -> Iterator[tuple[Pair, Reached | None]]:
    """Yield as `by_dht` does, with one common peer instead of the DHT."""
    for pair in pairs:
        with Internet() as net:
            common = net.add_home(Nat.PUBLIC)
            peer = ["--peer", f"{common.address}:{PORT}"]
            if pair.sharer.has_ipv6 or pair.getter.has_ipv6:
                peer += ["--peer", f"[{common.ipv6}]:{PORT}"]
            share = _share(net, pair, folder, *peer, env=_NO_DHT)
            link = link_of(share.program)
            words = ("get", link, "-o", share.folder / "common", "--include", "a")
            seeding = net.enter_context(
                shoal(
                    *(*words, "--seed", "--port", PORT),
                    ns=common.namespace,
                    env=_NO_DHT,
                )
            )
            seeding.wait_line("verified")
            yield next(_fetch_all([share], [link], COMMON_PATIENCE, *peer, env=_NO_DHT))


def _share(
    net: Internet,
    pair: Pair,
    folder: Path,
    *options: str,
    env: dict[str, str] | None = None,
) -> _Share:
    """Start to share a folder of its own, with files `a` and `b`."""
    home, getter = net.add_home(pair.sharer), net.add_home(pair.getter)
    own = folder / f"{pair.sharer.name}-{pair.getter.name}".lower()
    shared = own / "shared"
    shared.mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        data = random.Random(f"{own.name} {name}").randbytes(CHUNK)
        (shared / name).write_bytes(data)
    words = ("share", shared, "--chunk-size", "64K", *options)
    program = net.enter_context(shoal(*words, ns=home.namespace, env=env))
    return _Share(pair, home, getter, program, own)


def _fetch_all(
    shares: list[_Share],
    links: list[str],
    patience: int,
    *options: str,
    env: dict[str, str] | None = None,
) -> Iterator[tuple[Pair, Reached | None]]:
    def fetch(share: _Share, link: str) -> tuple[Pair, Reached | None]:
        out = share.folder / "out"
        words = ("get", link, "-o", out, "--include", "b", "--timeout", patience)
        asked = (*words, "--json", *options)
        started = time.monotonic()
        with shoal(*asked, ns=share.getter.namespace, env=env) as getting:
            code, said, _ = getting.finish(patience + 30)
        taken = time.monotonic() - started
        if code:
            return share.pair, None
        assert (out / "b").read_bytes() == (share.folder / "shared/b").read_bytes()
        return share.pair, Reached(taken, _path(lines_of(said)))

    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from threads.map(fetch, shares, links)


def _path(lines: list[dict[str, Any]]) -> str:
    """Return how the peer was reached that has sent a chunk."""
    peers = [line for line in lines if line["event"] == "peer"]
    paths = {each["address"]: str(each["path"]) for each in peers if "path" in each}
    (sender,) = (each["address"] for each in peers if each.get("chunks"))
    return paths[sender]
