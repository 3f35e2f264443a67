"""Attack a sharer, one case at a time.

python -m tests.adversary.adv CASE --link LINK --peer HOST:PORT [--file PATH]
python -m tests.adversary.adv code_… --code CODE --peer HOST:PORT
python -m tests.adversary.adv --list

Most cases dial the sharer at `--peer`, attack it, check what can be checked from
outside, and end; with `--repeat` they repeat until standard input ends. The other cases
are holders that listen: they print `CASE HOST:PORT`, and the fetching command needs
this address as its `--peer`. They send the correct bytes of `--file`, or zeros without
it, and end when standard input ends.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from shoal.core.names.address import Address, parse_address
from shoal.core.names.code import parse_code
from shoal.core.names.link import Link, parse_link
from tests.adversary.codes import CODES
from tests.adversary.floods import FLOODS
from tests.adversary.greedy import GREEDY
from tests.adversary.holders import KINDS, learn, serve
from tests.adversary.strangers import STRANGERS

__all__ = ["ATTACKS", "LISTENERS", "attack"]

ATTACKS = {**STRANGERS, **GREEDY, **FLOODS}
"""All cases that dial, by name."""
LISTENERS = {f"serving_{name}" if name in ATTACKS else name: name for name in KINDS}
"""All cases that listen, by name, with their kind of holder."""


async def attack(case: str, link: Link, address: Address) -> None:
    """Run a dialling case once against the sharer at `address`."""
    await ATTACKS[case](await learn(link, address), address)


async def attack_on(case: str, link: Link, address: Address) -> None:
    """Repeat a dialling case until standard input ends."""
    holding = await learn(link, address)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    sys.stdout.write("attacking\n")
    sys.stdout.flush()
    while not ended.done():
        await ATTACKS[case](holding, address)


async def main() -> None:
    """Run with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="adv", allow_abbrev=False)
    parser.add_argument("case", nargs="?", metavar="CASE")
    parser.add_argument("--link")
    parser.add_argument("--code")
    parser.add_argument("--peer")
    parser.add_argument("--file", type=Path)
    parser.add_argument("--repeat", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    given = args.code if args.case in CODES else args.link
    if args.list or not (args.case and given and args.peer):
        sys.stdout.write("\n".join([*ATTACKS, *CODES, *LISTENERS]) + "\n")
        return
    address = parse_address(args.peer)
    if args.case in CODES:
        await CODES[args.case](parse_code(args.code), address)
        return
    link = parse_link(args.link)
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
