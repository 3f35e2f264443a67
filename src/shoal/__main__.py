"""The entry point: `shoal`, or `python -m shoal`.

It imports the command line where a Ctrl-C is already expected.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit."""
    try:
        from shoal.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("shoal: Interrupted.\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
