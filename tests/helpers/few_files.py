"""A listener in a process with few file descriptors; `test_sealed_guests` floods it.

Run by itself. It says its port, waits for a line, takes every descriptor that is
left, says how many that were and how much CPU it used in a second without any,
gives them back and serves on until its input ends.
"""

import asyncio
import resource
import socket
import sys
import time

from tests.helpers.sealed import open_sealed

LIMIT = 128  # file descriptors


async def main() -> None:
    """Do what the module says."""
    async with open_sealed() as sealed:
        sealed.echo = True
        # Only now, so that the listener has no smaller limit of guests.
        resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        await say(sealed.address.port)
        taken: list[socket.socket] = []
        while take(taken):
            pass
        before = time.process_time()
        await asyncio.sleep(1)
        used = time.process_time() - before
        spare = len(taken)
        for each in taken:
            each.close()
        await say(f"{spare} {used}")


def take(sockets: list[socket.socket]) -> bool:
    """Take one descriptor; say whether there was one."""
    try:
        sockets.append(socket.socket())
    except OSError:
        return False
    return True


async def say(value: object) -> None:
    """Write a line, and wait for one."""
    sys.stdout.write(f"{value}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main())
