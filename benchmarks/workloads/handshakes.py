"""What a sealed connection costs, and what refusing one does."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from tests.helpers.netns import Namespace

from benchmarks.measure import cpu_seconds
from benchmarks.model import Column, Ratio, Sample, Setup, Side, Workload
from benchmarks.peers.launch import own_argv, start

__all__ = ["WORKLOAD"]

DIALS = 500
FLOOD = 5000  # wrong knocks per second
SECONDS = 5
MANY = 1000  # shares of one node


def prepare(setup: Setup) -> Sequence[Side]:
    """Make a namespace; each run starts its own server."""
    namespace = setup.stack.enter_context(Namespace())
    return [
        Side("handshake", partial(_dial, namespace)),
        Side("refused, 1 share", partial(_flood, namespace, 1)),
        Side(f"refused, {MANY:,} shares", partial(_flood, namespace, MANY)),
    ]


def _dial(namespace: Namespace) -> Sample:
    with ExitStack() as stack:
        server = start(stack, namespace, own_argv("handshakes", "serve", 1))
        port = server.wait_line(r"listening (\d+)", stream="out")[1]
        before = cpu_seconds(server.pid)
        client = start(stack, namespace, own_argv("handshakes", "dial", port, DIALS))
        figures = json.loads(client.wait_line(r"\{.*\}", 60, stream="out")[0])
        return {
            "wall": figures["wall"],
            "client": figures["cpu"],
            "server": (cpu_seconds(server.pid) - before) / DIALS,
        }


def _flood(namespace: Namespace, shares: int) -> Sample:
    rate = FLOOD if shares == 1 else FLOOD // 50
    with ExitStack() as stack:
        server = start(stack, namespace, own_argv("handshakes", "serve", shares))
        port = server.wait_line(r"listening (\d+)", stream="out")[1]
        before = cpu_seconds(server.pid)
        words = ("handshakes", "flood", port, rate, SECONDS + 1)
        flood = start(stack, namespace, own_argv(*words))
        asking = start(stack, namespace, own_argv("handshakes", "ask", port, SECONDS))
        waits = json.loads(asking.wait_line(r"\{.*\}", 60, stream="out")[0])
        refused = json.loads(flood.wait_line(r"\{.*\}", 60, stream="out")[0])
        count = refused["refused"] * (SECONDS + 1)
        return {
            "refused": refused["refused"],
            "server": (cpu_seconds(server.pid) - before) / count,
            "p99": waits["p99"],
            "longest": waits["longest"],
        }


WORKLOAD = Workload(
    name="handshakes",
    title="Sealed connections, opened and refused",
    how=(
        f"{DIALS} connections are opened one after the other; the time is that from "
        "the SYN until the client has proven the server and sent its confirmation, the "
        "CPU seconds are those of both whole processes, divided by the connections. "
        f"Then {FLOOD:,} wrong knocks per second are sent to a node with one share, "
        f"and {FLOOD // 50} to one with {MANY:,}, while a proven peer waits for one "
        "echo after the other."
    ),
    columns=(
        Column("wall", "ms", 2, 1e3),
        Column("client", "client CPU ms", 2, 1e3),
        Column("server", "server CPU ms", 2, 1e3),
        Column("refused", "refused per s", 0),
        Column("p99", "p99 of an echo, ms", 1, 1e3),
        Column("longest", "longest, ms", 1, 1e3),
    ),
    ratios=(
        Ratio("client CPU ms", "client", "handshake", goal="at most 1.5", scale=1e3),
        Ratio("server CPU ms", "server", "handshake", goal="at most 1.5", scale=1e3),
        Ratio(
            *("refused per second", "refused", "refused, 1 share"),
            goal="at least 5000 sent",
        ),
        Ratio(
            *("longest wait of a proven peer, ms", "longest", "refused, 1 share"),
            goal="at most 50",
            scale=1e3,
        ),
    ),
    prepare=prepare,
)
