"""A DHT of libtorrent nodes, each in a network namespace of its own.

    python -m tests.interop.dht_nodes PID/HOST...

starts one node at port 6881 of each address, in the namespace of the process PID. It
prints `ready HOST:PORT` with a node to start from once every node has joined, and runs
until it is killed.

libtorrent ties each socket to the interface of its address. So nodes in one namespace
do not hear each other, unless all of them are on loopback.
"""

import ctypes
import os
import sys

import libtorrent as lt

from shoal.core.names.address import Address
from tests.interop.dht_oracle import start

PORT = 6881
_CLONE_NEWNET = 0x40000000


def start_in(pid: str, host: str, bootstrap: str) -> lt.session:
    """Start a node whose threads are in the namespace of a process."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    # os.setns is new in Python 3.12. Threads inherit the namespace of their creator.
    if ctypes.CDLL(None).setns(namespace, _CLONE_NEWNET):
        raise OSError(f"cannot enter the network namespace of process {pid}")
    os.close(namespace)
    return start(bootstrap, str(Address(host, PORT)))


def main(nodes: list[tuple[str, str]]) -> None:
    """Start the nodes; all but the first join through the first."""
    bootstrap = str(Address(nodes[0][1], PORT))
    sessions = [start_in(*nodes[0], "")]
    sessions += [start_in(*node, bootstrap) for node in nodes[1:]]
    for session in sessions[1:]:
        has_joined = False
        while not has_joined:
            session.wait_for_alert(200)
            has_joined = any(
                isinstance(alert, lt.dht_bootstrap_alert)
                for alert in session.pop_alerts()
            )
    print(f"ready {bootstrap}", flush=True)
    while True:
        for session in sessions:
            session.wait_for_alert(200)
            session.pop_alerts()


if __name__ == "__main__":
    pairs = [each.partition("/") for each in sys.argv[1:]]
    main([(pid, host) for pid, _, host in pairs])
