"""How long two Python processes take to find each other on the LAN."""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count

from tests.helpers.netns import Namespace, join_by_veth
from tests.helpers.process import Program
from tests.helpers.programs import NODE_PROGRAMS, missing_node

from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload

__all__ = ["WORKLOAD"]

PORT = 4001
PATIENCE = 20.0  # seconds
NODE = "seeker comes, one host, node"

_names = (f"channel {number}" for number in count())  # none is looked for twice


def prepare(setup: Setup) -> Sequence[Side]:
    """Make one host, and two that are joined by a cable."""
    host, left, right = (setup.stack.enter_context(Namespace()) for _ in range(3))
    join_by_veth(left, right)
    places = {"one host": (host, host), "two hosts": (left, right)}
    sides = []
    for place, (here, there) in places.items():
        sides += [
            Side(f"seeker comes, {place}", partial(_seeker_comes, here, there)),
            Side(f"sharer comes, {place}", partial(_sharer_comes, here, there)),
        ]
    if setup.admits(NODE, missing_node):
        sides.append(Side(NODE, partial(_node_comes, host)))
    return sides


def _tool(namespace: Namespace, *args: object) -> Program:
    argv = [sys.executable, "-m", "tests.helpers.lan_tool", *map(str, args)]
    return Program(argv, namespace=namespace)


def _node(namespace: Namespace, *args: object) -> Program:
    argv = ["node", str(NODE_PROGRAMS / "discover.js"), *map(str, args)]
    return Program(argv, namespace=namespace)


def _seeker_comes(here: Namespace, there: Namespace) -> Sample:
    """Start the one who shares, wait, then time the one who looks."""
    name = next(_names)
    with ExitStack() as stack:
        sharer = stack.enter_context(_tool(here, "join", name, PORT))
        sharer.wait_line("^ready$")
        time.sleep(0.3)  # its first announcement is over
        begin = time.perf_counter()
        seeker = stack.enter_context(_tool(there, "join", name, 0))
        return _found(begin, seeker)


def _sharer_comes(here: Namespace, there: Namespace) -> Sample:
    """Start the one who looks, wait, then time the one who shares."""
    name = next(_names)
    with ExitStack() as stack:
        seeker = stack.enter_context(_tool(here, "join", name, 0))
        seeker.wait_line("^ready$")
        time.sleep(0.3)  # it has asked, and nobody has answered
        begin = time.perf_counter()
        stack.enter_context(_tool(there, "join", name, PORT))
        return _found(begin, seeker)


def _node_comes(host: Namespace) -> Sample:
    name = next(_names)
    with ExitStack() as stack:
        sharer = stack.enter_context(_node(host, name, PORT))
        sharer.wait_line("^ready$")
        time.sleep(0.3)
        begin = time.perf_counter()
        seeker = stack.enter_context(_node(host, name))
        return _found(begin, seeker, rf"^\S+:{PORT} ")


def _found(
    begin: float, seeker: Program, pattern: str = rf"^found \S+:{PORT}$"
) -> Sample:
    seeker.wait_line(pattern, PATIENCE)
    return {"found": time.perf_counter() - begin}


WORKLOAD = Workload(
    name="find",
    title="From the start of a process to the first address found on the LAN",
    how=(
        "Two processes that only do discovery, on one host and on two hosts joined by "
        "a cable (network namespaces). One process searches and the other announces. "
        "The process that starts second is timed from its start, including that of "
        "Python, until the searching process reports an address: in one case the "
        "searching process starts second, in the other the announcing process."
    ),
    columns=(Column("found", "ms", 0, 1e3),),
    ratios=(
        Ratio(
            "seeker comes, one host, shoal : node",
            "found",
            "seeker comes, one host",
            NODE,
        ),
    ),
    prepare=prepare,
)
