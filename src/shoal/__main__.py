"""The entry point: `shoal`, or `python -m shoal`.

It imports the command line where a Ctrl-C is already expected.
"""

import contextlib
import gc
import os
import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    # Importing makes many objects and no garbage: looking for some at every 700th
    # costs a tenth of the time to the first byte.
    gc.set_threshold(50_000, 20, 100)
    try:
        from shoal.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("shoal: Interrupted.\n")
        code = 130
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    # All that has to be closed is closed. Taking the rest apart, object by object,
    # takes a fifth of the time of a short command.
    os._exit(code)


if __name__ == "__main__":
    main()
