"""A DHT of libtorrent nodes, each in a network namespace of its own.

    python -m tests.interop.dht_nodes PID/HOST...

starts one node at port 6881 of each address, in the namespace of the process PID. It
prints `ready HOST:PORT` with a node to start from once every node has joined, and runs
until it is killed.

libtorrent ties each socket to the interface of its address. So nodes in one namespace
do not hear each other, unless all of them are on loopback.
"""

import ctypes
import ipaddress
import os
import socket
import sys
import time

import libtorrent as lt

from shoal.core.names.address import Address
from shoal.discovery.dht.krpc import (
    ID_SIZE,
    KrpcResponse,
    bdecode,
    bencode,
    build_find_node,
    parse_message,
)
from shoal.net.socket_names import family_of
from tests.interop.dht_oracle import start

PORT = 6881
ENOUGH = 4  # nodes that each must name, on average
AGAIN = 20.0  # seconds until all nodes are introduced again
_CLONE_NEWNET = 0x40000000


def start_in(pid: str, host: str) -> lt.session:
    """Start a node whose threads are in the namespace of a process."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    # os.setns is new in Python 3.12. Threads inherit the namespace of their creator.
    if ctypes.CDLL(None).setns(namespace, _CLONE_NEWNET):
        raise OSError(f"cannot enter the network namespace of process {pid}")
    os.close(namespace)
    return start("", str(Address(host, PORT)))


def introduce_all(sessions: list[lt.session], hosts: list[str]) -> None:
    """Have each node ping every other one."""
    for session, host in zip(sessions, hosts, strict=True):
        for other in hosts:
            if other != host:
                session.add_dht_node((other, PORT))


def tell_addresses(
    teacher: socket.socket, sessions: list[lt.session], hosts: list[str]
) -> None:
    """Answer a question of each node with its address, from which its id follows.

    A node takes another id once it knows its address (BEP 42). Nodes that know it by an
    earlier one keep that, and what asks them for nodes gets the wrong id (IPv6).
    """
    teacher.bind((hosts[-1], 0))
    for session in sessions:
        session.add_dht_node((hosts[-1], teacher.getsockname()[1]))
    untold = set(hosts)
    while untold:
        data, source = teacher.recvfrom(65_535)
        query = bdecode(data)
        assert isinstance(query, dict)
        packed = socket.inet_pton(teacher.family, source[0])
        answer = {
            b"ip": packed + source[1].to_bytes(2),
            b"r": {b"id": b"teacher".ljust(ID_SIZE)},
            b"t": query[b"t"],
            b"y": b"r",
        }
        teacher.sendto(bencode(answer), source)
        untold.discard(source[0])


def ask(asker: socket.socket, host: str) -> KrpcResponse | None:
    """Return the answer of a node to a question for the nodes that it knows."""
    asker.sendto(
        build_find_node(b"know", bytes(ID_SIZE), os.urandom(ID_SIZE)), (host, PORT)
    )
    try:
        message = parse_message(asker.recv(65_535))
    except TimeoutError:
        return None
    return message if isinstance(message, KrpcResponse) else None


def know_each_other(asker: socket.socket, hosts: list[str]) -> bool:
    """Return True if each node knows enough others, by the ids that they have now.

    A node takes another id once others have told it its address (BEP 42). Until they
    have asked it again, they know it by the first one.
    """
    answers = {host: answer for host in hosts if (answer := ask(asker, host))}
    ids = {host: answer.node_id for host, answer in answers.items()}
    right = [
        sum(
            ids.get(node.address.host) == node.id
            for node in answer.nodes + answer.nodes6
        )
        for answer in answers.values()
    ]
    return sum(right) >= ENOUGH * len(hosts)


def main(nodes: list[tuple[str, str]]) -> None:
    """Start the nodes, and introduce each of them to all others."""
    sessions = [start_in(*node) for node in nodes]
    hosts = [host for _, host in nodes]
    if ipaddress.ip_address(hosts[0]).is_global:  # or they believe no answer
        with socket.socket(family_of(hosts[0]), socket.SOCK_DGRAM) as teacher:
            tell_addresses(teacher, sessions, hosts)
    with socket.socket(family_of(hosts[0]), socket.SOCK_DGRAM) as asker:
        asker.settimeout(0.5)
        while not know_each_other(asker, hosts):
            introduce_all(sessions, hosts)
            time.sleep(0.5)
    print(f"ready {Address(hosts[0], PORT)}", flush=True)
    while True:
        # Unlike nodes of a large DHT, so few would forget each other in some minutes.
        introduce_all(sessions, hosts)
        again_at = time.monotonic() + AGAIN
        while time.monotonic() < again_at:
            for session in sessions:
                session.wait_for_alert(200)
                session.pop_alerts()


if __name__ == "__main__":
    pairs = [each.partition("/") for each in sys.argv[1:]]
    main([(pid, host) for pid, _, host in pairs])
