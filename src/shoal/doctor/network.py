"""Check whether peers can reach this machine, the router, multicast and the DHT."""

import asyncio
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import closing

from shoal.config.settings import Settings
from shoal.core.crypto.hashes import DIGEST_SIZE
from shoal.core.crypto.keys import Keys, derive_keys
from shoal.core.crypto.knock import NODE_ID_SIZE
from shoal.core.names.address import Address
from shoal.core.names.address_scope import Scope, scope_of
from shoal.core.report.status import PortMapping
from shoal.discovery.combined import Networks
from shoal.discovery.dht.bootstrap import DEFAULT_BOOTSTRAP, Bootstrap
from shoal.discovery.dht.dual import usable_hosts
from shoal.discovery.dht.krpc import ID_SIZE, build_get_peers, parse_message
from shoal.discovery.lan.packets import encode_query
from shoal.discovery.lan.sockets import (
    MDNS_PORT,
    group_of,
    lan_interfaces,
    open_sender,
    open_socket,
)
from shoal.discovery.udp import UdpClient
from shoal.doctor.finding import Finding, failed, note, ok
from shoal.errors import PeerError, ProtocolError, ShoalError, first_error
from shoal.net.interfaces import Interface, list_interfaces
from shoal.net.socket_names import family_of, name_of
from shoal.transport.dial import connect
from shoal.transport.listen import bind_all
from shoal.transport.sealed.relay import RELAY_OK, relay_request

__all__ = [
    "check_dht",
    "check_ipv6",
    "check_listening",
    "check_multicast",
    "check_peers",
    "check_relays",
    "check_router",
]

LOOPBACK_TIME = 1.0  # seconds for our own packet to come back
DIAL_TIME = 3.0  # seconds for a peer to accept
ANSWER_TIME = 4.0  # seconds for nodes of the DHT to answer
TOPIC_SIZE = 20  # bytes
_ONE_SIDE = (
    "It is enough that one of two peers can dial the other. If neither can, and they "
    "do not connect when both dial either, name a relay with --relay HOST:PORT."
)
# The farthest comes first.
_IPV6_REACH = {
    Scope.GLOBAL: "Any peer with IPv6 can reach {}, if no firewall is in between.",
    Scope.PRIVATE: (
        "Only private networks can reach {}; peers on the internet need IPv4."
    ),
    Scope.LINK: "IPv6 works on the LAN only: the only address is {}.",
    Scope.LOOPBACK: "IPv6 works on this machine only: the only address is {}.",
}
_PEER_HINT = "You can still name peers with --peer HOST:PORT."


async def check_listening(settings: Settings) -> list[Finding]:
    """Check that peers could connect to this machine."""
    name = "listening"
    try:
        hosts = Networks(settings).hosts()
        sockets = bind_all(hosts, settings.port)
    except ShoalError as error:
        advice = "Until this is solved, no peer can connect to this machine."
        return [failed(name, str(error), advice)]
    for each in sockets.values():
        each.close()
    where = ", ".join(sockets)
    what = f"port {settings.port}" if settings.port else "any free port"
    return [ok(name, f"shoal can listen on {what} of {where}.")]


async def check_router(settings: Settings) -> list[Finding]:
    """Check whether the router maps a port; it is given back at once."""
    name = "router"
    if settings.lan_only or settings.no_map:
        why = "--lan-only" if settings.lan_only else "--no-map"
        return [ok(name, f"Not checked, because of {why}.")]
    networks = Networks(settings)
    try:
        sockets = bind_all(networks.hosts(), settings.port)
    except ShoalError:
        return []  # reported by `check_listening`
    try:
        networks.map_port(next(iter(sockets.values())).getsockname()[1])
        problem = await networks.until_mapped()
        mapped = networks.mappings
        findings = [
            ok(
                "router",
                f"The router lets peers dial {each.outside} by IPv6 ({each.method}).",
            )
            for each in mapped
            if each.is_ipv6
        ]
        ipv4 = [each for each in mapped if not each.is_ipv6]
        if ipv4 or problem or not findings:
            findings.insert(0, judge_mapping(ipv4, problem))
        return findings
    finally:
        for each in sockets.values():
            each.close()
        await networks.aclose()


def judge_mapping(mappings: Iterable[PortMapping], problem: str | None) -> Finding:
    """Return what a mapping, or the `problem` instead of one, means to the user."""
    for each in mappings:
        if each.is_global:
            what = f"Peers on the internet can dial {each.outside}: the router maps a "
            return ok("router", f"{what}port ({each.method}).")
        return note(
            "router",
            f"The router maps a port ({each.method}), but its own address is "
            f"{each.outside.host}: another router is between it and the internet.",
            "Peers on the internet cannot dial this machine. Ask the provider for a "
            f"public address, or let the other router forward a port. {_ONE_SIDE}",
        )
    return note(
        "router",
        problem or "The router has not been asked.",
        "Turn on PCP, NAT-PMP or UPnP in the settings of the router, if there is one, "
        "or let it forward a port to this machine and give that port with --port. "
        f"{_ONE_SIDE}",
    )


async def check_relays(settings: Settings) -> list[Finding]:
    """Check that the named relays join two connections."""
    return list(await asyncio.gather(*map(_try_relay, settings.relays)))


async def _try_relay(relay: Address) -> Finding:
    keys = derive_keys(os.urandom(DIGEST_SIZE))
    try:
        async with asyncio.timeout(DIAL_TIME), asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(_wait_at(relay, keys))
    except TimeoutError:
        reason = "no answer"
    except BaseExceptionGroup as group:
        error = first_error(group)
        if not isinstance(error, OSError | PeerError | ValueError):
            raise error from None
        reason = _reason(error)
    else:
        return ok("relay", f"{relay} joins two connections.")
    return failed(
        "relay",
        f"{relay} does not work as a relay: {reason}.",
        "Check that magic-wormhole-transit-relay runs there, and the firewalls "
        "between.",
    )


async def _wait_at(relay: Address, keys: Keys) -> None:
    """Wait until the relay joins two connections.

    Raises `OSError`, `PeerError` or `ValueError`.
    """
    reader, writer = await asyncio.open_connection(*relay)
    try:
        writer.write(relay_request(keys, os.urandom(NODE_ID_SIZE)))
        if (said := await reader.readline()) != RELAY_OK:
            ends = "it closes the connection"
            raise PeerError(f"it answers {said[:40]!r}" if said else ends)
    finally:
        writer.close()


def _reason(error: Exception) -> str:
    """Return why a connection failed, without the address, which asyncio repeats."""
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError) and error.errno:
        if not isinstance(error, socket.gaierror):  # it has numbers of its own
            return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error)


async def check_ipv6(settings: Settings) -> list[Finding]:
    """Find out how far this machine gets with IPv6."""
    try:
        found = list_interfaces(settings.interfaces)
    except (OSError, ShoalError):
        return []  # `check_listening` says so
    reached = {scope_of(each.address): each.address for each in found if each.is_ipv6}
    what = "No IPv6 address is in use here: shoal uses IPv4 only."
    for scope, text in _IPV6_REACH.items():
        if scope in reached:
            what = text.format(reached[scope])
            break
    return [ok("ipv6", what)]


async def check_peers(settings: Settings) -> list[Finding]:
    """Check that the named peers accept connections."""
    return list(await asyncio.gather(*map(_dial, settings.peers)))


async def _dial(address: Address) -> Finding:
    try:
        async with asyncio.timeout(DIAL_TIME):
            transport = await connect(asyncio.Protocol, address)
    except (OSError, TimeoutError) as error:
        return failed(
            "peer",
            f"{address} does not accept a connection: {_reason(error)}.",
            "Check that shoal runs there with this --port, and the firewalls between.",
        )
    transport.close()
    return ok("peer", f"{address} accepts connections.")


async def check_multicast(settings: Settings) -> list[Finding]:
    """Find the interfaces on which multicast works."""
    if settings.no_lan:
        return [ok("multicast", "Not checked, because of --no-lan.")]
    try:
        found = list_interfaces(settings.interfaces)
        interfaces = lan_interfaces(found)
    except (OSError, ShoalError) as error:
        return [failed("multicast", str(error), _PEER_HINT)]
    tried = await asyncio.gather(*map(_send_and_receive, interfaces))
    works = [each for each, (port, _) in zip(interfaces, tried, strict=True) if port]
    if not works:
        reasons = [f"{i.name}: {t[1]}" for i, t in zip(interfaces, tried, strict=True)]
        what = "; ".join(reasons) or "no interface is up"
        return [
            failed(
                "multicast",
                f"Multicast does not work ({what}).",
                "shoal finds no peers on the LAN; this is normal in many containers. "
                + _PEER_HINT,
            )
        ]
    names = ", ".join(f"{each.name} ({each.address})" for each in works)
    findings = [ok("multicast", f"A packet came back on {names}.")]
    silent = [
        f"{each.name} ({each.address})" for each in interfaces if each not in works
    ]
    if silent:
        what = f"Multicast does not work on {', '.join(silent)}."
        advice = "shoal finds no peers there; normal for tunnels and some containers."
        findings.append(note("multicast", what, advice))
    return [*findings, _judge_mdns_port([port for port, _ in tried if port])]


def _judge_mdns_port(ports: list[int]) -> Finding:
    if any(port == MDNS_PORT for port in ports):
        return ok("port 5353", "shoal can share this port with other programs.")
    return note(
        "port 5353",
        f"Another program uses it exclusively; shoal uses {ports[0]} instead.",
        "A peer on the LAN may need up to a minute to find this machine.",
    )


async def _send_and_receive(interface: Interface) -> tuple[int, str]:
    """Return the port on which our own packet came back; 0 if none, and the reason."""
    loop = asyncio.get_running_loop()
    packet = encode_query(os.urandom(TOPIC_SIZE))
    address, name = interface.address, interface.name
    try:
        sock, port = open_socket(address, name)
        with closing(sock), closing(open_sender(address, name, port) or sock) as sender:
            # Not the loop's `sock_sendto`, which not every loop has.
            sender.sendto(packet, name_of(group_of(address, name), port))
            async with asyncio.timeout(LOOPBACK_TIME):
                while await loop.sock_recv(sock, 2048) != packet:
                    pass  # another program's
        return port, ""
    except TimeoutError:
        return 0, "nothing came back"
    except OSError as error:
        return 0, error.strerror or str(error)


async def check_dht(settings: Settings, timeout: float = ANSWER_TIME) -> list[Finding]:
    """Check that the DHT's bootstrap nodes answer within `timeout` seconds."""
    if settings.lan_only:
        return [ok("dht", "Not checked, because of --lan-only.")]
    advice = "Check the network and its firewall (UDP), or name another node with "
    advice += f"--dht-bootstrap HOST:PORT. {_PEER_HINT} Until then, shoal works on the "
    advice += "LAN only."
    # Without internet shoal still works on the LAN. A node that the user has named
    # should answer.
    report = failed if settings.dht_bootstrap else note
    nodes = settings.dht_bootstrap or DEFAULT_BOOTSTRAP
    binds = usable_hosts(Networks(settings).hosts(), settings.dht_bootstrap)
    tried = [await _find_nodes(nodes, bind) for bind in binds]
    missing = set.intersection(*(names for _, names in tried)) if tried else set()
    rest = f"no address was found for {', '.join(sorted(missing))}"
    if not any(addresses for addresses, _ in tried):
        return [report("dht", f"N{rest[1:]}.", advice)]
    asked = [
        _count_answers(addresses, bind, timeout)
        for (addresses, _), bind in zip(tried, binds, strict=True)
        if addresses
    ]
    try:
        answered = await asyncio.gather(*asked)
    except OSError as error:
        found = f"No packet can be sent from {', '.join(binds)}: {error}."
        return [report("dht", found, advice)]
    found = f"{sum(answered)} of {sum(len(a) for a, _ in tried)} nodes answered"
    found += f"; {rest}." if missing else "."
    return [ok("dht", found) if any(answered) else report("dht", found, advice)]


async def _find_nodes(
    nodes: Sequence[Address], bind: str
) -> tuple[list[Address], set[str]]:
    """Return the addresses in the network of `bind`, and the names without any."""
    bootstrap = Bootstrap(
        nodes,
        use_names=scope_of(bind) is not Scope.LOOPBACK,
        family=family_of(bind),
    )
    return await bootstrap.addresses(), set(bootstrap.unresolved)


async def _count_answers(addresses: list[Address], bind: str, timeout: float) -> int:
    """Return how many nodes answer; return at once when all did."""
    answered: set[Address] = set()
    has_all = asyncio.Event()

    def on_packet(data: bytes, source: Address) -> None:
        try:
            parse_message(data)
        except ProtocolError:
            return
        answered.add(source)
        if answered >= set(addresses):
            has_all.set()

    udp = UdpClient(bind, on_packet)
    await udp.open()
    try:
        node_id, topic = os.urandom(ID_SIZE), os.urandom(TOPIC_SIZE)
        for number, address in enumerate(addresses):
            tid = number.to_bytes(2, "big")
            udp.send(build_get_peers(tid, node_id, topic), address)
        try:
            async with asyncio.timeout(timeout):
                await has_all.wait()
        except TimeoutError:
            pass
    finally:
        await udp.aclose()
    return len(answered & set(addresses))
