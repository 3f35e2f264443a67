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
NODE = "seeker second, one host, node"

_names = (f"channel {number}" for number in count())  # each is used once


def prepare(setup: Setup) -> Sequence[Side]:
    """Make one host, and two hosts that are joined by a cable."""
    host, left, right = (setup.stack.enter_context(Namespace()) for _ in range(3))
    join_by_veth(left, right)
    places = {"one host": (host, host), "two hosts": (left, right)}
    sides = []
    for place, (here, there) in places.items():
        sides += [
            Side(f"seeker second, {place}", partial(_seeker_second, here, there)),
            Side(f"announcer second, {place}", partial(_announcer_second, here, there)),
        ]
    if setup.admits(NODE, missing_node):
        sides.append(Side(NODE, partial(_node_second, host)))
    return sides


def _tool(namespace: Namespace, *args: object) -> Program:
    argv = [sys.executable, "-m", "tests.helpers.lan_tool", *map(str, args)]
    return Program(argv, namespace=namespace)


def _node(namespace: Namespace, *args: object) -> Program:
    argv = ["node", str(NODE_PROGRAMS / "discover.js"), *map(str, args)]
    return Program(argv, namespace=namespace)


def _seeker_second(here: Namespace, there: Namespace) -> Sample:
    """Start the announcer, wait, then time the seeker."""
    name = next(_names)
    with ExitStack() as stack:
        announcer = stack.enter_context(_tool(here, "join", name, PORT))
        announcer.wait_line("^ready$")
        time.sleep(0.3)  # until its first announcement is over
        begin = time.perf_counter()
        seeker = stack.enter_context(_tool(there, "join", name, 0))
        return _found(begin, seeker)


def _announcer_second(here: Namespace, there: Namespace) -> Sample:
    """Start the seeker, wait, then time the announcer."""
    name = next(_names)
    with ExitStack() as stack:
        seeker = stack.enter_context(_tool(here, "join", name, 0))
        seeker.wait_line("^ready$")
        time.sleep(0.3)  # until its first question is over, without an answer
        begin = time.perf_counter()
        stack.enter_context(_tool(there, "join", name, PORT))
        return _found(begin, seeker)


def _node_second(host: Namespace) -> Sample:
    name = next(_names)
    with ExitStack() as stack:
        announcer = stack.enter_context(_node(host, name, PORT))
        announcer.wait_line("^ready$")
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
            "seeker second, one host, shoal : node",
            "found",
            "seeker second, one host",
            NODE,
        ),
    ),
    prepare=prepare,
)
