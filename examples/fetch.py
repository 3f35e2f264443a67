"""Fetch a share and say how far it is: `fetch.py LINK OUT`.

Interrupt it and run it again: what was verified is not fetched twice.
"""

import sys

import shoal


def show(event: shoal.DownloadEvent) -> None:
    """Write one line for what is worth one."""
    if isinstance(event, shoal.Progress):
        print(f"{event.done:,} of {event.size:,} bytes from {event.peers} peers")
    elif isinstance(event, shoal.Stalled):
        print(f"nothing for {event.seconds:.0f} s: {event.reason}")


try:
    result = shoal.fetch(sys.argv[1], sys.argv[2], on_progress=show)
except shoal.ShoalError as error:
    sys.exit(f"{error}")
print(result.path)
