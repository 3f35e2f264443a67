"""Read a part of a file of a share with the library for its format.

python -m benchmarks.programs.part_client KIND LINK HOST:PORT NAME

KIND is that of `tests.helpers.datasets`. Prints as JSON how many bytes the library
read, how many this node received meanwhile, and the seconds.
"""

import json
import sys
import time
from typing import Any

from tests.helpers.datasets import READS, CountingFile, received_by

from shoal.integrations.fsspec import ShoalFileSystem

__all__: list[str] = []


def main(kind: str, link: str, peer: str, name: str) -> None:
    """Run with the arguments of the command line."""
    fs: Any = ShoalFileSystem(peers=peer, lan_only=True, no_lan=True)
    share = link.removeprefix("shoal:").partition("?")[0]
    with fs.open(f"{share}/{name}") as file:
        before = received_by(fs)
        counting = CountingFile(file)
        begin = time.perf_counter()
        READS[kind](counting)
        seconds = time.perf_counter() - begin
        received = received_by(fs) - before
    figures = {"read": counting.asked, "received": received, "seconds": seconds}
    print(json.dumps(figures | {"more": received / counting.asked}))


if __name__ == "__main__":
    main(*sys.argv[1:])
