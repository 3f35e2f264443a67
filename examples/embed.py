"""Fetch several shares at once: `embed.py FOLDER LINK…`.

Downloads that take more than a minute stop; run the program again to resume them.
"""

import asyncio
import sys
from contextlib import aclosing

import shoal


async def fetch(node: shoal.Node, link: str, folder: str) -> None:
    """Fetch one share and print its events."""
    async with aclosing(node.fetching(link, folder=folder)) as events:
        async for event in events:
            match event:
                case shoal.Started(size=size):
                    print(f"{size:,} bytes to come")
                case shoal.PeerJoined(address=address):
                    print(f"found {address}")
                case shoal.FetchResult(path=path):
                    print(f"complete: {path}")


async def main(folder: str, links: list[str]) -> None:
    """Fetch all shares and print the errors."""
    async with shoal.Node(limit_down="100M") as node, asyncio.timeout(60):
        fetches = [fetch(node, link, folder) for link in links]
        for error in await asyncio.gather(*fetches, return_exceptions=True):
            if isinstance(error, shoal.ShoalError):
                print(error, file=sys.stderr)


asyncio.run(main(sys.argv[1], sys.argv[2:]))
