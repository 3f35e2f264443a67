"""The entry point: `shoal`, or `python -m shoal`.

It imports the command line, and all but what Python has loaded anyway, where a Ctrl-C
is already expected and importing has been made quick.
"""

import gc
import os
import sys

TYPE_CHECKING = False  # the one of `typing` would be loaded too early
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]


def main() -> "NoReturn":
    """Run the command line of this process and exit."""
    try:
        _hasten_imports()
        from shoal.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("shoal: Interrupted.\n")
        code = 130
    import contextlib

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    # All that has to be closed is closed. Taking the rest apart, object by object,
    # takes a fifth of the time of a short command.
    os._exit(code)


def _hasten_imports() -> None:
    # Importing makes many objects and no garbage: looking for some at every 700th
    # costs a tenth of the time to the first byte.
    gc.set_threshold(50_000, 20, 100)
    # What is in the folder of the script, or with -m in the one we stand in, is none
    # of ours: a file there named as a module of Python is not to be run in its place.
    # And each module is sooner found if that folder is not looked through first.
    if not sys.flags.safe_path:
        sys.path.append(sys.path.pop(0))


if __name__ == "__main__":
    main()
