"""Start peers of an open channel, shoal's and Node's, and wait until they announce."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.helpers.netns import Namespace
from tests.helpers.programs import Finished, Program, node, shoal

__all__ = ["CHUNK", "HASH_ID", "Peers", "events", "served"]

CHUNK = 1024
"""The default chunk size of an open channel."""

HASH_ID = r"^[0-9a-f]{64}$"
"""The line with which a program prints the id of a hash channel."""


class Peers(ExitStack):
    """Peers in one namespace, which end with the `with` block."""

    def __init__(self, ns: Namespace) -> None:
        super().__init__()
        self.ns = ns

    def node_named(self, source: Path, name: str, *args: object) -> Program:
        """Start a Node server of a named channel."""
        server = self.node("server.js", source, name, *args)
        server.wait_line(r"^listening \d+$")
        return server

    def node_hashed(self, source: Path, *args: object) -> tuple[Program, str]:
        """Start a Node server of a hash channel; return the server and the id."""
        server = self.node("hash-server.js", source, "--log", *args)
        server.wait_line(r"^listening \d+$")
        return server, server.wait_line(HASH_ID)[0]

    def node(self, script: str, *args: object) -> Program:
        """Start a Node program."""
        return self.enter_context(node(script, *args, ns=self.ns))

    def share(self, source: Path, *args: object) -> tuple[Program, str]:
        """Start `shoal share --open`; return the program and the channel's id."""
        server = self.shoal("share", source, "--open", *args, "--lan-only")
        return server, server.wait_line(r"^\S.*$", stream="out")[0]

    def get(self, channel: str, target: Path, *args: object) -> Program:
        """Start `shoal get`, which gives up after 20 s without a chunk."""
        options = ["-o", target, "--lan-only", "--timeout", 20, *args]
        return self.shoal("get", channel, *options)

    def chunk(self, channel: str, index: object, *args: object) -> Finished:
        """Run `shoal chunk` to its end."""
        return self.shoal("chunk", channel, index, "--lan-only", *args).finish()

    def shoal(self, *args: object) -> Program:
        """Start a command of shoal."""
        return self.enter_context(shoal(*args, ns=self.ns))


def served(server: Program) -> list[int]:
    """End a Node server of a hash channel; return the indexes it has sent."""
    server.kill()
    return [int(match[1]) for match in server.find(r"^served (\d+)$")]


def events(finished: Finished, kind: str) -> list[dict[str, Any]]:
    """Return the events of one kind that a command with `--json` has printed."""
    printed = [json.loads(line) for line in finished.stdout.splitlines()]
    return [event for event in printed if event["event"] == kind]
