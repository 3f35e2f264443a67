"""shoal's DHT client as a program, for tests with a DHT inside a namespace.

    python -m tests.interop.dht_tool TOPIC_HEX PORT|- BOOTSTRAP...

prints `peer HOST:PORT` for every new address, until it is killed.
"""

import asyncio
import sys

from shoal.core.names.address import parse_address
from shoal.discovery.dht.dual import DualDht


async def main(topic: bytes, port: int | None, bootstrap: list[str]) -> None:
    """Join the topic and print the addresses."""
    nodes = [parse_address(each) for each in bootstrap]
    seen = set()
    discovery = DualDht(nodes, hosts=("127.0.0.1", "::"), retry=(0.2, 1.0))
    try:
        async for address in discovery.join(topic, port):
            if address not in seen:
                seen.add(address)
                print(f"peer {address}", flush=True)
    finally:
        await discovery.aclose()


if __name__ == "__main__":
    _, hexdigits, port, *rest = sys.argv
    asyncio.run(
        main(bytes.fromhex(hexdigits), None if port == "-" else int(port), rest)
    )
