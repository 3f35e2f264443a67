"""Fetch a share and print the progress: `fetch.py LINK OUT`.

After an interruption, run it again: verified chunks are not fetched twice.
"""

import sys

import shoal


def show(event: shoal.DownloadEvent) -> None:
    """Print a line for progress and stalls."""
    if isinstance(event, shoal.Progress):
        print(f"{event.done:,} of {event.size:,} bytes from {event.peers} peers")
    elif isinstance(event, shoal.Stalled):
        print(f"nothing for {event.seconds:.0f} s: {event.reason}")


try:
    result = shoal.fetch(sys.argv[1], sys.argv[2], on_progress=show)
except shoal.ShoalError as error:
    sys.exit(f"{error}")
print(result.path)
