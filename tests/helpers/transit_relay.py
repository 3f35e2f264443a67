"""The real transit relay of magic-wormhole, as a process.

with transit_relay("127.0.0.1", 4100):
    ...
"""

import sys

from tests.helpers.netns import Namespace
from tests.helpers.process import Program

__all__ = ["transit_relay"]


def transit_relay(host: str, port: int, ns: Namespace | None = None) -> Program:
    """Start a relay that listens at an address; wait until it does."""
    argv = [sys.executable, "-m", "twisted", "transitrelay"]
    argv.append(f"--port=tcp:{port}:interface={host}")
    relay = Program(argv, namespace=ns)
    relay.wait_line(rf"starting on {port}")
    return relay
