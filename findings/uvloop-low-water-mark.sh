#!/bin/sh
# uvloop's default low-water mark is 16 bytes, not 16 KiB.
#
# Packages: uvloop 0.23.0 (PyPI), CPython 3.11.
#
# Expected: uvloop is a drop-in replacement for asyncio, whose transports pause
# a protocol above 64 KiB of unsent data and resume it below a quarter of that,
# 16 KiB. The documentation calls the default limits implementation-specific, but
# set_write_buffer_limits() without arguments sets those defaults and so should
# change nothing on a new transport:
# https://docs.python.org/3/library/asyncio-protocol.html#asyncio.WriteTransport.set_write_buffer_limits
#
# What happens: a new uvloop transport has the limits (16, 65536). The high mark
# is computed in bytes, the low mark from the same constant in KiB. A writer that
# awaits drain() therefore sleeps until its buffer is practically empty, so each
# refill leaves the connection without data to send. The call that should change
# nothing changes the low mark by a factor of 1024.
#
# Output seen:
#   asyncio: new (16384, 65536), after a call without arguments (16384, 65536), fewest bytes unsent while paused 19360
#   uvloop: new (16, 65536), after a call without arguments (16384, 65536), fewest bytes unsent while paused 1440
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
{ python3 -m venv "$work/venv" &&
    "$work/venv/bin/pip" install -qq 'uvloop==0.23.0'; } >&2 ||
    { echo "could not install the packages" >&2; exit 2; }
"$work/venv/bin/python" - <<'PYTHON'
import asyncio
import socket
import sys

import uvloop

TOTAL = 100_000  # Bytes: above the high-water mark once the kernel has its share.


class Writer(asyncio.Protocol):
    """Note whether the transport has paused this protocol."""

    paused = False

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False


async def measure():
    """Return the limits before and after the call, and the smallest paused buffer."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    theirs.setblocking(False)
    transport, writer = await loop.create_connection(Writer, sock=ours)
    new = transport.get_write_buffer_limits()
    transport.write(bytes(TOTAL))
    assert writer.paused
    smallest, received = transport.get_write_buffer_size(), 0
    while received < TOTAL:
        received += len(await loop.sock_recv(theirs, 512))
        await asyncio.sleep(0)
        if writer.paused:
            smallest = min(smallest, transport.get_write_buffer_size())
    transport.set_write_buffer_limits()
    after = transport.get_write_buffer_limits()
    transport.close()
    theirs.close()
    return new, after, smallest


results = {}
for name, run in (("asyncio", asyncio.run), ("uvloop", uvloop.run)):
    new, after, smallest = results[name] = run(measure())
    print(f"{name}: new {new}, after a call without arguments {after}, "
          f"fewest bytes unsent while paused {smallest}")
changed = (
    results["asyncio"][0] != (16384, 65536)
    or results["uvloop"][0] != (16, 65536)
    or results["uvloop"][1] != (16384, 65536)
    or results["asyncio"][2] <= 16384
    or results["uvloop"][2] >= 16384
)
sys.exit("the behaviour has changed" if changed else 0)
PYTHON
