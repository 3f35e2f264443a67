"""Attack whoever shares, one case at a time.

python -m tests.adversary.adv CASE --link LINK --peer HOST:PORT [--file PATH]
python -m tests.adversary.adv --list

Most cases dial the one at `--peer`, do their worst, check what can be seen of what
must hold, and end; with `--repeat` they go on until standard input ends. The others
are holders who listen: `CASE HOST:PORT` says where, and whoever fetches has to be told
by `--peer`; they know true bytes from `--file` only. They end with standard input.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from shoal.core.names.address import Address, parse_address
from shoal.core.names.link import Link, parse_link
from tests.adversary.greedy import GREEDY
from tests.adversary.holders import KINDS, learn, serve
from tests.adversary.strangers import STRANGERS

__all__ = ["ATTACKS", "LISTENERS", "attack"]

ATTACKS = {**STRANGERS, **GREEDY}
"""Every case that dials, by its name."""
LISTENERS = {f"serving_{name}" if name in ATTACKS else name: name for name in KINDS}
"""Every case that listens, and the kind of holder it is."""


async def attack(case: str, link: Link, address: Address) -> None:
    """Run one case that dials against who shares at `address`."""
    await ATTACKS[case](await learn(link, address), address)


async def attack_on(case: str, link: Link, address: Address) -> None:
    """Run one case that dials again and again until standard input ends."""
    holding = await learn(link, address)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    sys.stdout.write("attacking\n")
    sys.stdout.flush()
    while not ended.done():
        await ATTACKS[case](holding, address)


async def main() -> None:
    """Do what the module says."""
    parser = argparse.ArgumentParser(prog="adv")
    parser.add_argument("case", nargs="?", metavar="CASE")
    parser.add_argument("--link")
    parser.add_argument("--peer")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--repeat", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list or not (args.case and args.link and args.peer):
        sys.stdout.write("\n".join([*ATTACKS, *LISTENERS]) + "\n")
        return
    link, address = parse_link(args.link), parse_address(args.peer)
    if args.case in LISTENERS:
        kind = LISTENERS[args.case]
        await serve(await learn(link, address, args.file), [kind])
    elif args.case not in ATTACKS:
        parser.error(f"there is no case {args.case!r}; see --list")
    elif args.repeat:
        await attack_on(args.case, link, address)
    else:
        await attack(args.case, link, address)


if __name__ == "__main__":
    asyncio.run(main())
