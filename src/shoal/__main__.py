"""The entry point: `shoal`, or `python -m shoal`.

It imports the command line where a Ctrl-C is already expected.
"""

import gc
import sys

__all__ = ["main"]


def main() -> None:
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
    sys.exit(code)


if __name__ == "__main__":
    main()
