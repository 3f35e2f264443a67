"""The entry point: `shoal`, or `python -m shoal`.

It imports the command line only after it has opened missing standard streams, and
prepared for a Ctrl-C and for fast imports.
"""

import gc
import os
import sys

TYPE_CHECKING = False  # that of `typing` would be imported too early
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]


def main() -> "NoReturn":
    """Run the command line of this process and exit."""
    try:
        _open_missing_streams()
        _speed_up_imports()
        from shoal.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("shoal: Interrupted.\n")
        code = 130
    import contextlib

    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    # All files and connections are closed. Freeing the remaining objects one by one
    # would take a fifth of the time of a short command.
    os._exit(code)


def _open_missing_streams() -> None:
    """Open the null device in place of each standard stream that is closed.

    Otherwise the next file or socket would get its number, and messages would be
    written into it.
    """
    for number, name, mode in (
        (0, "stdin", "r"),
        (1, "stdout", "w"),
        (2, "stderr", "w"),
    ):
        try:
            os.fstat(number)
        except OSError:
            # Input that is closed cannot be read; it is not the same as empty input.
            null = os.open(os.devnull, os.O_WRONLY if number == 0 else os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))


def _speed_up_imports() -> None:
    # Importing creates many objects and no garbage; searching for garbage after every
    # 700 objects would take a tenth of the time to the first byte.
    gc.set_threshold(50_000, 20, 100)
    # The first entry is the folder of the script or, with -m, the current one. A file
    # there with the name of a Python module must not be run in its place, and imports
    # are faster if that folder is searched last.
    if not sys.flags.safe_path:
        sys.path.append(sys.path.pop(0))


if __name__ == "__main__":
    main()
